"""A `datasets.Dataset` or `DatasetDict` of transcribed speech that `save_to_disk` wrote."""

from collections.abc import Iterator
from typing import Any

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected, Split
from tasks.sources.arrow_audio import LOCATION, arrow_rows
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusError, CorpusFiles

_TEXTS = ("text", "sentence", "transcription", "transcript")
_SPEAKERS = ("speaker_id", "speaker", "client_id")
_SPLITS: dict[str, Split] = {"train": "train", "validation": "dev", "test": "test"}


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, wanted = split.split("/")
    # A Dataset that was saved alone lies in the root itself.
    folder = "" if "state.json" in files.names() else f"{wanted}/"
    audio, text, speaker = _columns(files, f"{folder}dataset_info.json")
    if not files.is_local:
        raise CorpusError(
            f"{files.location(folder)} is not on this machine: Arrow files are mapped into memory. "
            "Copy the data set to a local folder."
        )
    number = 0
    for name in _data_files(files, f"{folder}state.json", wanted):
        for row in arrow_rows(files.location(f"{folder}{name}"), audio):
            row_id = f"{folder}{number}"
            number += 1
            location = row.pop(LOCATION)
            if location is None:
                detail = f"its column {audio} has neither bytes nor a path"
                yield Rejected(id=row_id, reason="missing_file", detail=detail)
                continue
            labels: Row = {"id": row_id, "targets": {"asr": str(row[text] or "")}}
            labels["language"] = language
            if speaker is not None and row[speaker] is not None:
                labels["speaker"] = str(row[speaker])
            yield {**labels, **location, "audio": files.resolve(location["audio"])}


def _columns(files: CorpusFiles, key: str) -> tuple[str, str, str | None]:
    """Names of the columns of the audio, its text and its speaker."""
    features = _object(files, key).get("features")
    kinds = {
        name: kind.get("_type")
        for name, kind in (features.items() if isinstance(features, dict) else ())
        if isinstance(kind, dict)
    }
    audio = next((name for name, kind in kinds.items() if kind == "Audio"), None)
    text = next((name for name in _TEXTS if name in kinds), None)
    if audio is None or text is None:
        raise CorpusError(
            f"the data set of {files.location(key)} has the columns {', '.join(kinds)}; wanted are "
            f"one of the type Audio and one named {', '.join(_TEXTS)}. Rename the column with "
            "`rename_column` and save it again."
        )
    return audio, text, next((name for name in _SPEAKERS if name in kinds), None)


def _data_files(files: CorpusFiles, key: str, wanted: str) -> list[str]:
    """Names of the Arrow files that together hold all rows of the data set."""
    state = _object(files, key)
    if state.get("_indices_data_files"):
        raise CorpusError(
            f"{files.location(key)} names indices beside the rows, as old versions of `datasets` "
            "saved what was selected or shuffled. Save it again: "
            "`load_from_disk(OLD).flatten_indices().save_to_disk(NEW)`."
        )
    if (own := state.get("_split")) in _SPLITS and own != wanted:
        raise CorpusError(
            f"{files.location(key)} is of the split {own}, not {wanted}. Name that one."
        )
    try:
        return [str(data_file["filename"]) for data_file in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise CorpusError(
            f"{files.location(key)} has no list `_data_files` of Arrow files. Save the data set "
            "again."
        ) from error


def _object(files: CorpusFiles, key: str) -> dict[str, Any]:
    document = files.json(key)
    if not isinstance(document, dict):
        raise CorpusError(f"{files.location(key)} is no JSON object. Save the data set again.")
    return document


CORPUS = Corpus(
    name="saved_dataset",
    title="Hugging Face datasets, saved to disk",
    license="that of the data set",
    homepage="https://huggingface.co/docs/datasets/process#save",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, _SPLITS),
    layout="SPLIT/dataset_info.json, SPLIT/state.json and SPLIT/*.arrow as save_to_disk writes "
    "them (of a Dataset alone without SPLIT/): a column of type Audio, one named text, sentence, "
    "transcription or transcript, and perhaps speaker_id, speaker or client_id",
    rows=_rows,
    is_form=True,
)
