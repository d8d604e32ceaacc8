"""A Kaldi data directory: wav.scp, text, utt2spk, segments."""

from collections.abc import Iterator

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusError, CorpusFiles
from tasks.sources.tables import read_into


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    paths: dict[str, str] = {}
    texts: dict[str, str] = {}
    speakers: dict[str, str] = {}
    segments: dict[str, str] = {}
    yield from read_into(paths, files, f"{folder}/wav.scp")
    if piped := next((value for value in paths.values() if "|" in value), None):
        raise CorpusError(
            f"{files.location(folder)}/wav.scp has the command {piped!r}: a recipe runs no "
            "command. Write the recordings to files first (`wav-copy scp:wav.scp scp:NEW.scp`) and "
            "list their paths."
        )
    yield from read_into(texts, files, f"{folder}/text")
    present = files.names(folder)
    if f"{folder}/utt2spk" in present:
        yield from read_into(speakers, files, f"{folder}/utt2spk")
    if f"{folder}/segments" in present:
        yield from read_into(segments, files, f"{folder}/segments")
    else:
        segments = {name: name for name in paths}
    several = {
        words[0]
        for words in (segment.split() for segment in segments.values())
        if words[3:] not in ([], ["-1"], ["0"])
    }
    for utterance, segment in segments.items():
        row: Row = {"id": f"{folder}/{utterance}", "language": language}
        if utterance in texts:
            row["targets"] = {"asr": texts.pop(utterance)}
        if utterance in speakers:
            row["speaker"] = speakers[utterance]
        try:
            recording, part = _part(segment, several)
            if not paths.get(recording):
                raise ValueError(f"wav.scp has no path for its recording {recording!r}")
        except ValueError as error:
            yield Rejected(id=row["id"], reason="invalid_row", detail=str(error))
        else:
            yield row | part | {"audio": files.resolve(paths[recording])}
    for utterance in texts:
        detail = "text has a transcript for it, wav.scp and segments have no recording"
        yield Rejected(id=f"{folder}/{utterance}", reason="invalid_row", detail=detail)


def _part(segment: str, several: set[str]) -> tuple[str, Row]:
    """Parse `RECORDING BEGIN END [CHANNEL]`, or RECORDING alone, which means all of it.

    Args:
        several: recordings of which more channels than the first are named.

    Raises:
        ValueError: the segment has another form, or names one of several channels, which are
            averaged here.
    """
    match segment.split():
        case [recording]:
            return recording, {}
        case [recording, begin, end, *channel] if len(channel) <= 1:
            if channel and recording in several:
                raise ValueError(
                    f"segments names channel {channel[0]} of its recording, and channels are "
                    "averaged here. Write each to a file of its own (`sox IN OUT remix N`)"
                )
            part: Row = {"begin_seconds": float(begin)}
            return recording, part if float(end) == -1 else part | {"end_seconds": float(end)}
    raise ValueError(f"segments has {segment!r:.100} for it; wanted is RECORDING BEGIN END")


CORPUS = Corpus(
    name="kaldi",
    title="Kaldi data directories",
    license="that of the corpus",
    homepage="https://kaldi-asr.org/doc/data_prep.html",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, {"train": "train", "dev": "dev", "test": "test"}),
    layout="SPLIT/wav.scp (ID, path; relative ones start from the root; commands are refused), "
    "SPLIT/text (ID, transcript), and where they are there SPLIT/utt2spk (ID, speaker) and "
    "SPLIT/segments (ID, recording, begin and end in seconds, where -1 is the recording's end)",
    rows=_rows,
    is_form=True,
)
