"""LibriSpeech: read English books (Panayotov et al., 2015)."""

from collections.abc import Iterator
from functools import partial

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_lines, read_pairs


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    subsets = _subsets(files)

    def checked(row: Row) -> Iterator[Row | Rejected]:
        speaker = row["speaker"]
        if (listed := subsets.get(speaker)) != split:
            detail = f"SPEAKERS.TXT has speaker {speaker} in {listed}, not in {split}"
            yield Rejected(id=row["id"], reason="invalid_row", detail=detail)
        else:
            yield {**row, "language": "en"}

    return map_rows(chapters(files, split, ".flac"), checked)


def _subsets(files: CorpusFiles) -> dict[str, str]:
    """Speaker -> split, of lines such as "14 | F | train-clean-360 | 25.03 | Kristin LeMoine"."""
    lines = (
        line.split("|")
        for line in read_lines(files, "SPEAKERS.TXT")
        if isinstance(line, str) and line[0] != ";"
    )
    return {fields[0].strip(): fields[2].strip() for fields in lines if len(fields) >= 4}


def chapters(files: CorpusFiles, folder: str, suffix: str) -> Iterator[Row | Rejected]:
    """The utterances of `SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` files, without a language.

    A recording that no transcript names is a row without a label, so that it is listed as rejected.
    """
    names = files.names(folder, below=True)
    unnamed = {name for name in names if name.endswith(suffix)}

    def row(folder: str, pair: tuple[str, str]) -> Iterator[Row]:
        utterance, text = pair
        key = f"{folder}/{utterance}{suffix}"
        unnamed.discard(key)
        yield {
            "id": utterance,
            "audio": files.location(key),
            "targets": {"asr": text},
            "speaker": utterance.split("-")[0],
        }

    for transcripts in (name for name in names if name.endswith(".trans.txt")):
        make = partial(row, transcripts.rsplit("/", 1)[0])
        yield from map_rows(read_pairs(files, transcripts), make)
    for key in sorted(unnamed):
        speaker = key.rsplit("/", 1)[-1].split("-")[0]
        yield {"id": key.removesuffix(suffix), "audio": files.location(key), "speaker": speaker}


CORPUS = Corpus(
    name="librispeech",
    title="LibriSpeech",
    license="CC-BY-4.0",
    homepage="https://www.openslr.org/12",
    tasks=("asr",),
    languages=("en",),
    splits={
        "train-clean-100": "train",
        "train-clean-360": "train",
        "train-other-500": "train",
        "dev-clean": "dev",
        "dev-other": "dev",
        "test-clean": "test",
        "test-other": "test",
    },
    layout="SPEAKERS.TXT, SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt with a line `ID TEXT` an "
    "utterance, and ID.flac beside it",
    rows=_rows,
)
