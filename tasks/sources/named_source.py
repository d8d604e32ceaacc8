"""Data that a command names by one text: a file, a folder, or a corpus with its root."""

import re
from pathlib import Path

from tasks.sources.folder import AUDIO_SUFFIXES
from tasks.sources.hugging_face import is_data_set
from tasks.sources.source_error import DataSourceError

_CORPUS = re.compile(r"([A-Za-z0-9_-]+)(?::([^=]*))?=(.+)")
_METADATA = ("metadata.jsonl", "metadata.csv", "dataset_info.json", "manifest.jsonl")
"""Files that describe the recordings of their folder, the first that is there counts."""


def data_source(text: str) -> dict[str, object]:
    """Return the values of `data` in a profile that a text stands for.

    `NAME=ROOT` and `NAME:SPLIT,SPLIT=ROOT` are a public corpus; a folder is that of recordings, or
    of a Hugging Face data set; anything else is a manifest.

    Raises:
        DataSourceError: there is no such file or folder, or nothing in the folder that is known.
    """
    path = Path(text)
    if not path.exists() and (match := _CORPUS.fullmatch(text)):
        name, splits, root = match.groups()
        named = [split for split in (splits or "").split(",") if split]
        return {"corpora": [{"name": name, "root": root, "splits": named}]}
    if "://" in text or path.is_file():
        return {"manifest": text}
    if not path.is_dir():
        raise DataSourceError(
            f"there is no file or folder {text!r}; a relative path starts from "
            f"{str(Path.cwd())!r}. Name a manifest (.jsonl, .json, .csv, .tsv, "
            ".parquet), a folder of recordings or of a data set, or a corpus as NAME=ROOT."
        )
    for name in _METADATA:
        if (path / name).is_file() and not is_data_set(text):
            return {"manifest": str(path / name)}
    if is_data_set(text):
        return {"manifest": text}
    if any(file.suffix.lower() in AUDIO_SUFFIXES for file in path.rglob("*")):
        return {"folder": text}
    raise DataSourceError(
        f"the folder {text!r} has neither recordings (*{', *'.join(sorted(AUDIO_SUFFIXES))}) nor a "
        "Hugging Face data set (*.parquet, dataset_dict.json, snapshots/) nor "
        f"{', '.join(_METADATA)}."
    )
