"""Finds the shape of the model that pre-training starts from, before anything is built."""

import json
from typing import Any

from transformers import Qwen2AudioConfig

from data_contracts.errors import UsageError
from infra.storage.store import Store
from model.checkpoints.construct import ModelRecipe, configuration
from model.costs.shapes import published_config, released_shape, towers_shape
from tasks.initial_model.build import ReleasedRecipe, TowersRecipe, WeightSource


class UnknownShapeError(UsageError, ValueError):
    """The size of a model can't be known, because its weights are out of reach."""


def initial_shape(
    recipe: ModelRecipe | TowersRecipe | ReleasedRecipe, source: WeightSource | None
) -> tuple[Qwen2AudioConfig, tuple[str, ...]]:
    """Return the network's configuration, and the assumptions that it rests on.

    Raises:
        UnknownShapeError: weights are neither readable nor known by the name of their folder.
    """
    if isinstance(recipe, ModelRecipe):
        return configuration(recipe, recipe.vocab_size, audio_token=0), ()
    notes: list[str] = []
    read = {
        name: _tower_config(name, url, notes)
        for name, url in (source.folders if source else {}).items()
        if name != "adapter"
    }
    if isinstance(recipe, ReleasedRecipe):
        return released_shape(read["released"]), tuple(notes)
    return towers_shape(read["audio_encoder"], read["language_model"]), tuple(notes)


def _tower_config(name: str, url: str, notes: list[str]) -> dict[str, Any]:
    """Read `config.json` of some weights; out of reach, take the one published by their name."""
    published = published_config(url)
    store = Store(url)
    # A published name spares the wait for a store that does not answer.
    is_here = store.is_local and store.exists("config.json")
    if is_here or published is None:
        try:
            return dict(json.loads(store.read_text("config.json")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            if published is None:
                raise UnknownShapeError(
                    f"weights.{name} is {url!r}: it can't be read here ({error}), and no model "
                    "was published under that name. Name the folder as the model is named, or "
                    "plan where it can be read."
                ) from error
    assert published is not None
    notes.append(f"weights.{name} is taken to have the published shape of that name")
    return published
