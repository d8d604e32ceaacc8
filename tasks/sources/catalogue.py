"""The catalogue of public corpora: every module in `corpora/` is a recipe of one.

To add one, write a module with a function that yields `Row`s and a `CORPUS` that describes it
(`esc50.py` is an example), and a test of it on a tiny tree of its true layout.
"""

import os
import pkgutil
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

from pydantic import ValidationError, model_validator

from data_contracts.jsonl import explain
from data_contracts.recipe import Recipe
from data_contracts.records import Clip, NonEmpty, Rejected
from tasks.recordings.locations import check_location
from tasks.sources import corpora as corpora_folder
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusError, CorpusFiles
from tasks.sources.tables import map_rows

_SHOWN = 3
"""Number of reasons that an error lists."""
_MAX_ID_CHARACTERS, _MAX_DETAIL_CHARACTERS = 200, 1_000
__all__ = ["Corpus", "CorpusError", "CorpusSource", "corpora", "corpus_rows", "find_corpus"]


class CorpusSource(Recipe):
    """A public corpus, and the folder into which it was unpacked."""

    name: NonEmpty
    """Name of a recipe; `q2a ingest --list` lists them."""
    root: NonEmpty
    """Folder or fsspec URL."""
    splits: tuple[str, ...] = ()
    """Splits by the corpus's own names; none: all, if the corpus has one language."""

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, values: object) -> object:
        """Make a path absolute: workers, and later runs, have other working directories.

        `..` is resolved by name, since no path below may have it.
        """
        if isinstance(values, dict) and isinstance(root := values.get("root"), str):
            check_location(root)
            local = root and "://" not in root
            return {**values, "root": os.path.normpath(Path(root).absolute()) if local else root}
        return values

    @model_validator(mode="after")
    def _known(self) -> "CorpusSource":
        corpus = find_corpus(self.name)
        known = corpus.splits
        if corpus.is_by_language and not self.splits:
            raise CorpusError(
                f"corpus {self.name} has its splits by language: name those that you mean, as "
                f"--data {self.name}:{next(iter(known))}={self.root}"
            )
        if wrong := [split for split in self.splits if split not in known]:
            shown = ", ".join(list(known)[:12])
            raise CorpusError(
                f"corpus {self.name} has no split {', '.join(wrong)}; it has {shown}"
                + (f" and {len(known) - 12} more" if len(known) > 12 else "")
            )
        return self


def corpora() -> dict[str, Corpus]:
    """Return every recipe by its name: each module of `corpora/` that has a `CORPUS`."""
    modules = (
        import_module(f"{corpora_folder.__name__}.{module.name}")
        for module in pkgutil.iter_modules(corpora_folder.__path__)
    )
    recipes = [module.CORPUS for module in modules if hasattr(module, "CORPUS")]
    return {recipe.name: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.name)}


def find_corpus(name: str) -> Corpus:
    """Return the recipe of a corpus.

    Raises:
        CorpusError: there is none of this name.
    """
    recipes = corpora()
    if name not in recipes:
        raise CorpusError(
            f"there is no corpus {name!r}; there are {', '.join(recipes)}. `q2a ingest --list` "
            "describes them; a new one is one file in tasks/sources/corpora/."
        )
    return recipes[name]


def corpus_rows(source: CorpusSource) -> Iterator[Clip | Rejected]:
    """Yield the rows of a corpus, split by split, and a rejected record for each that is none.

    Raises:
        CorpusError: a table or folder of the layout is missing or damaged, or a split has no row. A
            recording that is missing is no such error: its row is there, and ingest rejects it.
    """
    corpus = find_corpus(source.name)
    files = CorpusFiles(source.root)
    name = files.name if corpus.is_form else corpus.name
    for split in source.splits or corpus.splits:
        reasons: list[str] = []
        is_empty = True
        for row in map_rows(corpus.rows(files, split), partial(_clip, corpus, name, split)):
            if isinstance(row, Clip):
                is_empty = False
                yield row
                continue
            rejected = _spelled(name, row)
            if len(reasons) < _SHOWN:
                reasons.append(f"{rejected.id}: {rejected.detail}")
            yield rejected
        if is_empty:
            raise _empty(corpus, split, source.root, reasons)


def _clip(corpus: Corpus, name: str, split: str, row: Row) -> Iterator[Clip | Rejected]:
    """Make a row of a corpus a clip, or reject it.

    Ids, speakers and phrases get the corpus's name in front: those of two corpora stay apart.
    """
    own = {
        key: f"{name}/{value}"
        for key in ("id", "speaker", "phrase")
        if (value := row.get(key)) is not None
    }
    filled = {
        "source": name,
        "license": "unknown" if corpus.is_form else corpus.license,
        "split": corpus.splits[split],
    }
    try:
        clip = Clip.model_validate({"targets": {}, **filled, **row, **own})
        if ".." in clip.audio.split("/"):
            raise ValueError(f"audio {clip.audio!r} climbs out of its folder with `..`")
        if not (clip.targets or clip.conversation):
            raise ValueError(f"the corpus has no label for {clip.audio!r}")
        if blank := [task for task, text in clip.targets.items() if not text.strip()]:
            raise ValueError(f"the corpus has an empty text for {', '.join(blank)}")
    except ValueError as error:
        detail = explain(error) if isinstance(error, ValidationError) else str(error)
        yield Rejected(id=str(row.get("id")), reason="invalid_row", detail=detail)
    else:
        yield clip


def _spelled(name: str, row: Rejected) -> Rejected:
    """Escape what can't be written down, such as a name in another encoding."""
    spelled = _printable(f"{name}/{row.id}"[:_MAX_ID_CHARACTERS])
    detail = _printable(row.detail[:_MAX_DETAIL_CHARACTERS])
    return Rejected(id=spelled, reason=row.reason, detail=detail)


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _empty(corpus: Corpus, split: str, root: str, reasons: list[str]) -> CorpusError:
    """Return the error about a split without a row: nothing is left out silently."""
    if reasons:
        return CorpusError(
            f"split {split} of corpus {corpus.name} in {root} has no usable row. The first reasons "
            f"are {'; '.join(reasons)}. Is this the layout that `q2a ingest --list --json` "
            "describes?"
        )
    return CorpusError(
        f"split {split} of corpus {corpus.name} in {root} has no record. Wanted is "
        f"{corpus.layout}. Unpack it there, or name the splits that are there: --data "
        "NAME:SPLIT,SPLIT=ROOT."
    )
