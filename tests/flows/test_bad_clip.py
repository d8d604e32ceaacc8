"""A training whose loss becomes NaN names the clip and stops, skips the step or rolls back."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from model.checkpoints.checkpoint import load_checkpoint
from tasks.corpus import features as corpus_features
from tasks.training.guards.divergence import DivergedError, WatchRecipe
from tests.support.repeated_pretraining import World


@pytest.fixture
def bad_clip(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """A clip of the tenth step whose features are damaged between corpus and network."""
    seen: list[list[str]] = []
    features_of = corpus_features.clip_features

    def damaged(reader: Any, clips: Sequence[str], bins: int) -> dict[str, torch.Tensor]:
        seen.append(list(clips))
        if len(seen) == 10:
            chosen.append(clips[1])
        found = features_of(reader, clips, bins)
        return {
            clip: torch.full_like(features, torch.nan) if clip in chosen else features
            for clip, features in found.items()
        }

    chosen: list[str] = []
    monkeypatch.setattr(corpus_features, "clip_features", damaged)
    return chosen  # type: ignore[return-value]  # filled when the step comes


def test_a_planted_nan_clip_is_named_with_its_shard_and_stops_the_run(
    world: World, bad_clip: list[str]
) -> None:
    with pytest.raises(DivergedError, match=r"step 9: the loss is nan.*watch\.policy is 'stop'"):
        world.run()
    (clip,) = bad_clip
    (line,) = [text for text in world.said if text.startswith("step 9: the loss is nan")]
    print(line)
    assert f"worker 0, bad by itself: {clip}/" in line
    assert f"(clips ['{clip}'] in ['" in line
    assert ".tar" in line
    assert clip in world.tagged["q2a.watch.step-00000009.worker-0"]
    rows = json.loads(world.files["watch/step-00000009.worker-0.json"])
    assert [row["clips"] for row in rows if row["bad"]] == [[clip]]
    assert len(rows) == world.recipe.optimizer.examples_per_step


def test_skipping_leaves_the_weights_of_that_step_and_ends_the_run(
    world: World, bad_clip: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(WatchRecipe(policy="skip"), keep_checkpoints={"last": 99})
    nan_steps = [int(t.split(":")[0][5:]) for t in world.said if "the loss is nan" in t]
    assert nan_steps[0] == 9
    assert all(torch.isfinite(torch.tensor([n["loss"] for n in world.numbers])))
    assert world.numbers[-1]["step"] == world.recipe.optimizer.steps
    with world.directory.local_folder("checkpoint", world.scratch) as folder:
        model, _ = load_checkpoint(folder)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_too_many_problems_stop_a_run_that_skips(world: World, bad_clip: list[str]) -> None:
    with pytest.raises(DivergedError, match="problem 1 of this run"):
        world.run(WatchRecipe(policy="skip", at_most=0))


def test_rolling_back_goes_to_the_last_state_and_leaves_the_bad_example_out(
    world: World, bad_clip: list[str]
) -> None:
    world.run(WatchRecipe(policy="roll_back"))
    assert "continues from the state after step 8 on 1 worker" in world.log
    assert "audit: every planned example was consumed once" in world.log
    assert "step 9: the loss is nan" in world.log
    assert world.numbers[-1]["step"] == world.recipe.optimizer.steps
    assert all(torch.isfinite(torch.tensor([n["loss"] for n in world.numbers])))
