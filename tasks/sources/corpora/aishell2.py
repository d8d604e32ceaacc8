"""AISHELL-2: a thousand hours of read Mandarin (Du et al., 2018)."""

from collections.abc import Iterator

from data_contracts.records import Rejected, TaskName
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_into, read_pairs


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    folder = "iOS/data" if split == "train" else split
    paths: dict[str, str] = {}
    yield from read_into(paths, files, f"{folder}/wav.scp")

    def transcribed(pair: tuple[str, str]) -> Iterator[Row | Rejected]:
        utterance, text = pair
        yield _row(files, folder, utterance, paths.pop(utterance, ""), {"asr": text})

    yield from map_rows(read_pairs(files, f"{folder}/trans.txt"), transcribed)
    for utterance, path in paths.items():  # recordings without a transcript
        yield _row(files, folder, utterance, path, {})


def _row(
    files: CorpusFiles, folder: str, utterance: str, path: str, targets: dict[TaskName, str]
) -> Row | Rejected:
    """The channels of an evaluation set hold the same utterances under ids of their own."""
    row_id = f"{folder}/{utterance}"
    if "/" not in path:
        detail = f"wav.scp has the path {path!r} for it; wanted is wav/SPEAKER/ID.wav"
        return Rejected(id=row_id, reason="invalid_row", detail=detail)
    return {
        "id": row_id,
        "audio": files.location(f"{folder}/{path}"),
        "targets": targets,
        "language": "zh",
        "speaker": path.rsplit("/", 2)[-2],
    }


CORPUS = Corpus(
    name="aishell2",
    title="AISHELL-2",
    license="AISHELL-2 academic licence (no commercial use)",
    homepage="https://www.aishelltech.com/aishell_2",
    tasks=("asr",),
    languages=("zh",),
    splits={
        "train": "train",
        "iOS/dev": "dev",
        "Android/dev": "dev",
        "Mic/dev": "dev",
        "iOS/test": "test",
        "Android/test": "test",
        "Mic/test": "test",
    },
    layout="the folder AISHELL-2 with iOS/data (train) and {iOS,Android,Mic}/{dev,test}, each with "
    "wav.scp (ID, wav/SPEAKER/ID.wav), trans.txt (ID, text) and wav/SPEAKER/ID.wav",
    rows=_rows,
)
