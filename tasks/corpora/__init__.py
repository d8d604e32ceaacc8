"""Recipes of public corpora: one file each, found by being here.

To add one, write a module with a generator of `Row`s and a `CORPUS` that describes it (`esc50.py`
is an example), and a test of it on a tiny tree of its true layout.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from data_contracts.jsonl import explain
from data_contracts.records import Clip, NonEmpty, Rejected
from tasks.corpora.corpus import Corpus, Row
from tasks.corpora.files import CorpusError, CorpusFiles
from tasks.locations import check_location

__all__ = ["Corpus", "CorpusError", "CorpusSource", "corpora", "corpus_rows", "find_corpus"]


class CorpusSource(BaseModel):
    """A public corpus, and where it was unpacked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: NonEmpty
    """Of a recipe; `q2a ingest --list` lists them."""
    root: NonEmpty
    """Folder or fsspec URL."""
    splits: tuple[str, ...] = ()
    """By the corpus's own names; all, where none is named and the corpus has one language."""

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, values: object) -> object:
        """Workers, and whoever resumes, have other working directories."""
        if isinstance(values, dict) and isinstance(root := values.get("root"), str):
            check_location(root)
            local = root and "://" not in root
            return {**values, "root": str(Path(root).absolute()) if local else root}
        return values

    @model_validator(mode="after")
    def _known(self) -> "CorpusSource":
        corpus = find_corpus(self.name)
        known = corpus.splits
        if corpus.is_by_language and not self.splits:
            raise CorpusError(
                f"corpus {self.name} has its splits by language: name those that you mean, as "
                f"--corpus {self.name}:{next(iter(known))}={self.root}"
            )
        if wrong := [split for split in self.splits if split not in known]:
            shown = ", ".join(list(known)[:12])
            raise CorpusError(
                f"corpus {self.name} has no split {', '.join(wrong)}; it has {shown}"
                + (f" and {len(known) - 12} more" if len(known) > 12 else "")
            )
        return self


def corpora() -> dict[str, Corpus]:
    """Every recipe by its name: each module of this folder that has a `CORPUS`."""
    modules = (
        import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    )
    recipes = [module.CORPUS for module in modules if hasattr(module, "CORPUS")]
    return {recipe.name: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.name)}


def find_corpus(name: str) -> Corpus:
    """The recipe of a corpus.

    Raises:
        CorpusError: there is none of this name.
    """
    found = corpora()
    if name not in found:
        raise CorpusError(
            f"there is no corpus {name!r}; there are {', '.join(found)}. `q2a ingest --list` "
            "describes them; a new one is one file in tasks/corpora/."
        )
    return found[name]


def corpus_rows(source: CorpusSource) -> Iterator[Clip | Rejected]:
    """The rows of a corpus, split by split, and in its place each record that is no row.

    Raises:
        CorpusError: a table or folder of the layout is missing or damaged. A recording that is
            missing is no such error: its row is there, and ingest rejects it.
    """
    corpus = find_corpus(source.name)
    files = CorpusFiles(source.root)
    for split in source.splits or corpus.splits:
        for row in corpus.rows(files, split):
            if isinstance(row, Rejected):
                yield row.model_copy(update={"id": f"{corpus.name}/{row.id}"})
            else:
                yield _clip(corpus, split, row)


def _clip(corpus: Corpus, split: str, row: Row) -> Clip | Rejected:
    """Ids, speakers and phrases of two corpora must never be taken for one another's."""
    name = row.get("source", corpus.name)
    own = {
        key: f"{name}/{value}"
        for key in ("id", "speaker", "phrase")
        if (value := row.get(key)) is not None
    }
    filled = {"source": name, "license": corpus.license, "split": corpus.splits[split]}
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
        # An id that can't be written down may be why the row is rejected.
        spelled = str(own["id"])[:200].encode("utf-8", "backslashreplace").decode()
        return Rejected(id=spelled, reason="invalid_row", detail=detail)
    return clip
