"""A `datasets.DatasetDict` of transcribed speech that `save_to_disk` wrote."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.corpora.corpus import Corpus, Row, by_language
from tasks.corpora.files import CorpusError, CorpusFiles

_TEXTS = ("text", "sentence", "transcription", "transcript")
_SPEAKERS = ("speaker_id", "speaker", "client_id")


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    features = files.json(f"{folder}/dataset_info.json").get("features") or {}
    kinds = {name: kind.get("_type") for name, kind in features.items() if isinstance(kind, dict)}
    audio = next((name for name, kind in kinds.items() if kind == "Audio"), None)
    text = next((name for name in _TEXTS if name in kinds), None)
    speaker = next((name for name in _SPEAKERS if name in kinds), None)
    if audio is None or text is None:
        raise CorpusError(
            f"the data set in {files.place(folder)} has the columns {', '.join(kinds)}; wanted are "
            f"one of the type Audio and one named {', '.join(_TEXTS)}. Rename the column with "
            "`rename_column` and save it again."
        )
    if not files.is_local:
        raise CorpusError(
            f"{files.place(folder)} is not on this machine: Arrow files are mapped into memory. "
            "Copy the data set to a local folder."
        )
    state = files.json(f"{folder}/state.json")
    number = 0
    for data_file in state["_data_files"]:
        for row in _arrow_rows(files.place(f"{folder}/{data_file['filename']}"), audio):
            row_id = f"{folder}/{number}"
            number += 1
            place = row.pop("place")
            if place is None:
                detail = f"its column {audio} has neither bytes nor a path"
                yield Rejected(id=row_id, reason="missing_file", detail=detail)
                continue
            labels: Row = {"id": row_id, "targets": {"asr": str(row[text] or "")}}
            labels |= {"language": language, "source": files.name, "license": "unknown"}
            if speaker is not None and row[speaker] is not None:
                labels["speaker"] = str(row[speaker])
            yield {**labels, **place}


def _arrow_rows(path: str, audio: str) -> Iterator[dict[str, Any]]:
    """All columns but the audio's, and in `place` where that lies: in this very file, or beside it.

    The file is mapped, not read: the address of a value tells its place in the file.
    """
    try:
        with pa.memory_map(path) as mapped:
            whole = mapped.read_buffer()
            for batch in pa.ipc.open_stream(whole):
                others = batch.drop_columns([audio]).to_pylist()
                for row, place in zip(
                    others, _places(batch.column(audio), whole, path), strict=True
                ):
                    yield row | {"place": place}
    except (OSError, pa.ArrowException, KeyError) as error:
        raise CorpusError(
            f"{path} is no Arrow stream of this data set: {error}. Save it again."
        ) from error


def _places(column: Any, whole: Any, path: str) -> Iterator[dict[str, Any] | None]:
    """A column of structs {bytes, path}; the bytes come first, as in `datasets`."""
    contents, paths = column.field("bytes"), column.field("path").to_pylist()
    wide = pa.types.is_large_binary(contents.type)
    _, offsets, values = contents.buffers()
    bounds = pa.Array.from_buffers(
        pa.int64() if wide else pa.int32(),
        len(contents) + 1,
        [None, offsets],
        offset=contents.offset,
    ).to_pylist()
    for i, (is_there, outside) in enumerate(
        zip(contents.is_valid().to_pylist(), paths, strict=True)
    ):
        if is_there and bounds[i + 1] > bounds[i]:
            begin = values.address + bounds[i] - whole.address
            if not 0 <= begin < whole.size:
                raise CorpusError(f"{path} is compressed. Save the data set without compression.")
            size = bounds[i + 1] - bounds[i]
            yield {"audio": path, "begin_byte": begin, "num_bytes": size}
        else:
            yield {"audio": outside} if outside else None


CORPUS = Corpus(
    name="saved_dataset",
    title="Hugging Face datasets, saved to disk",
    license="that of the data set",
    homepage="https://huggingface.co/docs/datasets/process#save",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, {"train": "train", "validation": "dev", "test": "test"}),
    layout="SPLIT/dataset_info.json, SPLIT/state.json and SPLIT/*.arrow as save_to_disk writes "
    "them: a column of type Audio, one named text, sentence, transcription or transcript, and "
    "perhaps speaker_id, speaker or client_id",
    rows=_rows,
)
