"""Recipes of public corpora: one file each, found by being here."""

import pkgutil
from importlib import import_module

from tasks.corpora.corpus import Corpus, CorpusError


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
