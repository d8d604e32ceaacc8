"""ESC-50: 2,000 environmental sounds of 50 classes (Piczak, 2015)."""

from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    def row(line: dict[str, str]) -> Iterator[Row]:
        if f"fold{line['fold']}" == split:
            yield {
                "id": line["filename"].removesuffix(".wav"),
                "audio": files.location(f"audio/{line['filename']}"),
                "targets": {"sound": line["category"].replace("_", " ")},
                "kind": "sound",
                # Several clips are cut from one recording, all for one fold.
                "phrase": line["src_file"],
            }

    columns = ("filename", "fold", "category", "src_file")
    return map_rows(read_table(files, "meta/esc50.csv", columns), row)


CORPUS = Corpus(
    name="esc50",
    title="ESC-50",
    license="CC-BY-NC-3.0",
    homepage="https://github.com/karolpiczak/ESC-50",
    tasks=("sound",),
    languages=(),
    splits={
        "fold1": "train",
        "fold2": "train",
        "fold3": "train",
        "fold4": "dev",
        "fold5": "test",
    },
    layout="meta/esc50.csv (filename, fold, category, src_file) and audio/*.wav",
    rows=_rows,
)
