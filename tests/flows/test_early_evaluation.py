"""Held-out answers and losses while a training runs."""

import json

import pytest

from infra.storage.store import Store
from tasks.corpus.shards import INDEX
from tests.support.repeated_pretraining import (
    World,
    assert_equals_the_undisturbed_run,
    held_out_losses,
)
from tests.support.tiny_run import TinyRun


def test_early_evaluation_shows_held_out_answers_and_changes_no_bit(
    world: World, tiny_run: TinyRun
) -> None:
    world.run(early_evaluation_every_steps=10)
    assert_equals_the_undisturbed_run(world, tiny_run)
    assert [row["step"] for row in world.rows] == [str(s) for s in (10, 20, 30) for _ in range(6)]
    assert set(world.rows[0]) == {"step", "id", "question", "reference", "answer"}
    losses = held_out_losses(world)
    assert losses.keys() == {10, 20, 30}
    assert losses[30] < losses[10]
    train_ids = {str(row["id"]).split("/")[0] for row in world.rows}
    index = {
        json.loads(line)["id"]: json.loads(line) for line in index_lines(world.inputs["corpus"])
    }
    assert {index[clip]["split"] for clip in train_ids} <= {"dev", "test"}


def test_early_evaluation_that_has_nothing_to_ask_is_left_out_and_said(
    world: World, tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.evaluation.early._EXAMPLES", 0)
    world.run(early_evaluation_every_steps=10)
    assert_equals_the_undisturbed_run(world, tiny_run)
    assert "early evaluation has nothing to ask" in world.log
    assert world.rows == []


def index_lines(corpus: Store) -> list[str]:
    return corpus.read_text(INDEX).splitlines()
