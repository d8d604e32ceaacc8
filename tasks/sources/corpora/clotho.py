"""Clotho 2.1: Freesound recordings with five captions each (Drossos et al., 2020)."""

from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table

_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    # The metadata hold names of uploaders in Latin-1; the captions are ASCII.
    metadata = read_table(
        files, f"clotho_metadata_{split}.csv", ("file_name", "license"), encoding="latin-1"
    )
    licenses = {
        line["file_name"]: line["license"] for line in metadata if not isinstance(line, Rejected)
    }

    def rows(line: dict[str, str]) -> Iterator[Row]:
        name = line["file_name"]
        for number, column in enumerate(_CAPTIONS, start=1):
            yield {
                "id": f"{split}/{name.rsplit('.', 1)[0]}/{number}",
                "audio": files.location(f"{split}/{name}"),
                "targets": {"caption": line[column]},
                "kind": "sound",
                # All five are of one recording.
                "phrase": name,
                "license": licenses.get(name, CORPUS.license),
            }

    captions = read_table(files, f"clotho_captions_{split}.csv", ("file_name", *_CAPTIONS))
    yield from map_rows(captions, rows)


CORPUS = Corpus(
    name="clotho",
    title="Clotho 2.1",
    license="a Creative Commons licence for each recording (clotho_metadata_*.csv); captions: "
    "Tampere University licence",
    homepage="https://zenodo.org/records/4783391",
    tasks=("caption",),
    languages=(),
    splits={"development": "train", "validation": "dev", "evaluation": "test"},
    layout="clotho_captions_SPLIT.csv (file_name, caption_1 to caption_5), "
    "clotho_metadata_SPLIT.csv (file_name, license) and SPLIT/*.wav. Each caption is a row",
    rows=_rows,
)
