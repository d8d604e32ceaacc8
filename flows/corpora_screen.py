"""Table of the corpora that have a recipe, as `q2a ingest --list` shows it."""

import json

from rich.console import Console
from rich.table import Table

from tasks.sources.catalogue import Corpus, corpora

_MANY = 24
"""Most languages that are listed; of more, the number is shown."""


def print_corpora(console: Console) -> None:
    """Print a row for each corpus, without its layout, which the JSON has."""
    table = Table(title="Corpora")
    for column in ("name", "title", "licence", "tasks", "languages", "splits"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for corpus in corpora().values():
        table.add_row(
            corpus.name,
            corpus.title,
            corpus.license,
            " ".join(corpus.tasks),
            _few(corpus.languages) or "none",
            _splits(corpus),
        )
    console.print(table)
    console.print("q2a ingest --data NAME:SPLIT,SPLIT=ROOT; --list --json shows each layout")


def corpora_as_json() -> str:
    """Return all that the recipes state, as JSON."""
    described = [
        {
            "name": corpus.name,
            "title": corpus.title,
            "license": corpus.license,
            "homepage": corpus.homepage,
            "tasks": corpus.tasks,
            "languages": corpus.languages,
            "splits": dict(corpus.splits),
            "layout": corpus.layout,
        }
        for corpus in corpora().values()
    ]
    return json.dumps(described, ensure_ascii=False, indent=2)


def _splits(corpus: Corpus) -> str:
    if not corpus.is_by_language:
        return " ".join(corpus.splits)
    languages = tuple(dict.fromkeys(name.rpartition("/")[0] for name in corpus.splits))
    parts = ",".join(dict.fromkeys(name.rpartition("/")[2] for name in corpus.splits))
    if len(languages) <= _MANY:
        return f"{{{','.join(languages)}}}/{{{parts}}}"
    example = next(name for name in corpus.splits if name.startswith("en"))
    return f"LANGUAGE/{{{parts}}}, as {example}"


def _few(names: tuple[str, ...]) -> str:
    if len(names) > _MANY:
        return f"{len(names)}, such as {' '.join(names[:3])}"
    return " ".join(names)
