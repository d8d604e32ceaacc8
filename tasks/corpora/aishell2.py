"""AISHELL-2: a thousand hours of read Mandarin (Du et al., 2018)."""

from collections.abc import Iterator

from tasks.corpora.corpus import Corpus, Row
from tasks.corpora.files import CorpusFiles


def _rows(files: CorpusFiles, split: str) -> Iterator[Row]:
    folder = "iOS/data" if split == "train" else split
    paths = dict(line.split(maxsplit=1) for line in files.lines(f"{folder}/wav.scp"))
    for line in files.lines(f"{folder}/trans.txt"):
        utterance, _, text = line.replace("\t", " ", 1).partition(" ")
        path = paths.pop(utterance, f"wav/{utterance}.wav")
        yield _row(files, folder, utterance, path) | {"targets": {"asr": text.strip()}}
    for utterance, path in paths.items():  # recordings without a transcript
        yield _row(files, folder, utterance, path)


def _row(files: CorpusFiles, folder: str, utterance: str, path: str) -> Row:
    """The channels of an evaluation set hold the same utterances under ids of their own."""
    return {
        "id": f"{folder}/{utterance}",
        "audio": files.place(f"{folder}/{path}"),
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
