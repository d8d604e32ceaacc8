"""CoVoST 2: translations of Common Voice 4 sentences (Wang et al., 2020)."""

import csv
from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table

_INTO_ENGLISH = (
    "fr", "de", "es", "ca", "it", "ru", "zh-CN", "pt", "fa", "et", "mn", "nl", "tr", "ar", "sv-SE",
    "lv", "sl", "ta", "ja", "id", "cy",
)  # fmt: skip
_FROM_ENGLISH = (
    "de", "tr", "fa", "sv-SE", "mn", "zh-CN", "cy", "ca", "sl", "et", "id", "ar", "ta", "lv", "ja"
)  # fmt: skip
_PAIRS = [f"{name}_en" for name in _INTO_ENGLISH] + [f"en_{name}" for name in _FROM_ENGLISH]


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    pair, part = split.split("/")
    source, target = pair.split("_")
    lines = read_table(
        files,
        f"{source}/covost_v2.{pair}.{part}.tsv",
        ("path", "sentence", "translation", "client_id"),
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
        escapechar="\\",
    )

    def row(line: dict[str, str]) -> Iterator[Row]:
        yield {
            "id": f"{pair}/{line['path'].rsplit('.', 1)[0]}",
            "audio": files.location(f"{source}/clips/{line['path']}"),
            "targets": {"s2tt": line["translation"]},
            "language": source.split("-")[0],
            "target_language": target.split("-")[0],
            "speaker": line["client_id"],
        }

    return map_rows(lines, row)


CORPUS = Corpus(
    name="covost2",
    title="CoVoST 2",
    license="CC0-1.0",
    homepage="https://github.com/facebookresearch/covost",
    tasks=("s2tt",),
    languages=tuple(name.split("-")[0] for name in ("en", *_INTO_ENGLISH)),
    splits=by_language(_PAIRS, {"train": "train", "dev": "dev", "test": "test"}),
    layout="LOCALE/covost_v2.LOCALE_TARGET.{train,dev,test}.tsv (path, sentence, translation, "
    "client_id), which its get_covost_splits.py writes, and LOCALE/clips/*.mp3 of Common Voice 4",
    rows=_rows,
)
