"""Data sources by short names, as the command line and Prefect's form give them."""

from pathlib import Path


def data_source(text: str) -> dict[str, object]:
    """Return the values of a `DataSource` that a text stands for.

    Args:
        text: NAME=ROOT or NAME:SPLIT,SPLIT=ROOT for a public corpus; else the path or URL of a
            manifest, or of a folder of recordings.
    """
    corpus, separator, root = text.partition("=")
    if separator:
        name, _, splits = corpus.partition(":")
        wanted = [split for split in splits.split(",") if split]
        return {"corpora": [{"name": name, "root": root, "splits": wanted}]}
    return {"folder" if Path(text).is_dir() else "manifest": text}
