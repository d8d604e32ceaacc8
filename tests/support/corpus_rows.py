"""The rows of a corpus below a folder."""

from pathlib import Path

from data_contracts.records import Rejected
from tasks.sources.catalogue import CorpusSource, corpus_rows


def source_of(name: str, root: Path, splits: tuple[str, ...] = ()) -> CorpusSource:
    """A corpus below a folder, of which some splits are asked for."""
    return CorpusSource(name=name, root=str(root), splits=splits)


def rows_of(name: str, root: Path, *splits: str) -> list[tuple[str, str]]:
    """Id of each row, and what it is labelled with or why it is rejected."""
    return [
        (row.id.partition("/")[2], row.detail)
        if isinstance(row, Rejected)
        else (row.id.partition("/")[2], next(iter(row.targets.values())))
        for row in corpus_rows(source_of(name, root, splits))
    ]
