"""MELD: emotions in the series Friends (Poria et al., 2019)."""

from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table

_FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    def row(line: dict[str, str]) -> Iterator[Row]:
        name = f"dia{line['Dialogue_ID']}_utt{line['Utterance_ID']}"
        yield {
            "id": f"{split}/{name}",
            "audio": files.location(f"{_FOLDERS[split]}/{name}.mp4"),
            "targets": {"ser": line["Emotion"]},
            "language": "en",
            "speaker": line["Speaker"],
        }

    columns = ("Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
    return map_rows(read_table(files, f"{split}_sent_emo.csv", columns), row)


CORPUS = Corpus(
    name="meld",
    title="MELD",
    license="GPL-3.0",
    homepage="https://affective-meld.github.io",
    tasks=("ser",),
    languages=("en",),
    splits={"train": "train", "dev": "dev", "test": "test"},
    layout="MELD.Raw with its three tars unpacked there: {train,dev,test}_sent_emo.csv (Speaker, "
    "Emotion, Dialogue_ID, Utterance_ID), train_splits/, dev_splits_complete/ and "
    "output_repeated_splits_test/ with diaD_uttU.mp4. The train and dev videos of two lines are "
    "known to be missing or broken: they are rejected",
    rows=_rows,
)
