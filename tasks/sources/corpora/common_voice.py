"""Common Voice 15: sentences that volunteers read and others validated (Ardila et al., 2020)."""

import csv
from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table

LOCALES = {"en": "en", "fr": "fr", "yue": "yue", "zh-CN": "zh", "zh-HK": "yue"}
"""Common Voice's names; what is read in Hong Kong (zh-HK) is read in Cantonese."""
_COLUMNS = ("client_id", "path", "sentence")


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    locale, name = split.split("/")
    speakers, sentences = set(), set()
    if name == "validated":
        for part in ("train", "dev", "test"):
            for line in _table(files, f"{locale}/{part}.tsv"):
                if isinstance(line, Rejected):
                    continue  # told with its own split
                sentences.add(line["sentence"])
                if part != "train":
                    speakers.add(line["client_id"])

    def row(line: dict[str, str]) -> Iterator[Row]:
        if line["client_id"] in speakers or line["sentence"] in sentences:
            return
        yield {
            "id": f"{locale}/{line['path'].rsplit('.', 1)[0]}",
            "audio": files.location(f"{locale}/clips/{line['path']}"),
            "targets": {"asr": line["sentence"]},
            "language": LOCALES[locale],
            "speaker": line["client_id"],
        }

    yield from map_rows(_table(files, f"{locale}/{name}.tsv"), row)


def _table(files: CorpusFiles, key: str) -> Iterator[dict[str, str] | Rejected]:
    """As CorporaCreator wrote the release: quotation marks, which are often unpaired, mean nothing,
    and a backslash stands before a tab that belongs to a sentence.
    """
    return read_table(files, key, _COLUMNS, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")


CORPUS = Corpus(
    name="common_voice",
    title="Common Voice 15.0",
    license="CC0-1.0",
    homepage="https://commonvoice.mozilla.org/datasets",
    tasks=("asr",),
    languages=("en", "fr", "yue", "zh"),
    splits=by_language(
        LOCALES, {"train": "train", "validated": "train", "dev": "dev", "test": "test"}
    ),
    layout="the folder cv-corpus-15.0-2023-09-08 with LOCALE/{validated,train,dev,test}.tsv "
    "(columns client_id, path, sentence) and LOCALE/clips/*.mp3. `validated` is what validated.tsv "
    "has beyond the three others: no sentence of theirs, no speaker of dev and test",
    rows=_rows,
)
