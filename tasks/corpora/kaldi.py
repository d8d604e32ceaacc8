"""A Kaldi data directory: wav.scp, text, utt2spk, segments."""

from collections.abc import Iterator

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.corpora.corpus import Corpus, Row, by_language
from tasks.corpora.files import CorpusError, CorpusFiles


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    places = _table(files, f"{folder}/wav.scp")
    if piped := next((value for value in places.values() if "|" in value), None):
        raise CorpusError(
            f"{files.place(folder)}/wav.scp has the command {piped!r}: a recipe runs no command. "
            "Write the recordings to files first (`wav-copy scp:wav.scp scp:NEW.scp`) and list "
            "their paths."
        )
    texts = _table(files, f"{folder}/text")
    present = files.names(folder)
    speakers = _table(files, f"{folder}/utt2spk") if f"{folder}/utt2spk" in present else {}
    segments = (
        _table(files, f"{folder}/segments")
        if f"{folder}/segments" in present
        else {name: name for name in places}
    )
    for utterance, segment in segments.items():
        recording, *times = segment.split()
        row: Row = {"id": f"{folder}/{utterance}", "language": language, "source": files.name}
        row["license"] = "unknown"
        if utterance in texts:
            row["targets"] = {"asr": texts.pop(utterance)}
        if utterance in speakers:
            row["speaker"] = speakers[utterance]
        if times:
            row["begin_seconds"], row["end_seconds"] = _seconds(times)
        place = places.get(recording)
        if place is None:
            detail = f"segments names recording {recording!r}, which wav.scp lacks"
            yield Rejected(id=utterance, reason="invalid_row", detail=detail)
            continue
        is_whole = place.startswith("/") or "://" in place
        row["audio"] = place if is_whole else files.place(place)
        yield row
    for utterance in texts:
        detail = "text has a transcript for it, wav.scp and segments have no recording"
        yield Rejected(id=utterance, reason="invalid_row", detail=detail)


def _table(files: CorpusFiles, key: str) -> dict[str, str]:
    """The first word of each line, and the rest of it."""
    pairs = (line.strip().split(maxsplit=1) for line in files.lines(key))
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def _seconds(times: list[str]) -> tuple[float, float]:
    """Begin and end; what is no number fails the rule of the field, and the row is rejected."""
    try:
        begin, end = map(float, times)
    except ValueError:
        return -1.0, -1.0
    return begin, end


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
    "SPLIT/segments (ID, recording, begin and end in seconds)",
    rows=_rows,
)
