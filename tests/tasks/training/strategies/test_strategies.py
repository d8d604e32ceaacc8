"""One recipe under every strategy: the same losses and weights, the same examples, no hang."""

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from data_contracts.training_choices import StrategyName
from infra.compute.on_ray import OnRay
from infra.compute.resources import Resources
from model.tuning import TuningRecipe
from tests.support.training_jobs import (
    STEPS,
    TEXT_ONLY_STEP,
    Finished,
    Incident,
    Training,
    refuse_a_step,
)
from tests.support.worker_processes import GroupFailedError, Processes

Golden = Callable[[str, Sequence[float]], None]


def assert_same_training(found: Finished, expected: Finished, first: int = 0) -> None:
    """Losses of every step within 1e-5, and the weights that they lead to.

    Adam's steps are as long whatever the gradient's scale is, so its norm is compared too.
    And the audit: from the step `first` on, each step took its examples, all of them and once.
    """
    assert len(found.losses) == STEPS
    assert found.losses == pytest.approx(expected.losses, rel=0, abs=1e-5)
    assert found.norms == pytest.approx(expected.norms, rel=1e-3)
    for name, weights in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weights, rtol=0, atol=1e-4, msg=name)
    assert min(found.consumed) == first
    for step, examples in list(enumerate(found.training.plan))[first:]:
        batches = found.consumed[step]
        assert sorted(e for batch in batches for e in batch) == sorted(examples), step


def test_one_process_has_the_losses_on_record(alone: Finished, golden: Golden) -> None:
    golden("one process", alone.losses)


MICRO_BATCHES = {"max_tokens_per_micro_batch": 150}
"""A step then takes two or more on each worker."""


def test_micro_batches_give_the_step_of_one_batch(
    training: Training, alone: Finished, tmp_path: Path
) -> None:
    several = training.under(1, **MICRO_BATCHES).run(tmp_path)
    assert_same_training(several, alone)
    assert max(len(batches) for batches in several.consumed.values()) > 1
    assert max(len(batches) for batches in alone.consumed.values()) == 1


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp",
        "fsdp2",
        pytest.param("zero1", marks=pytest.mark.drill),
        pytest.param("zero2", marks=pytest.mark.drill),
        pytest.param("zero3", marks=pytest.mark.drill),
        pytest.param("zero3_offload", marks=pytest.mark.drill),
    ],
)
def test_two_workers_train_as_one(
    training: Training, alone: Finished, golden: Golden, tmp_path: Path, strategy: str
) -> None:
    found = training.under(2, strategy=strategy, **MICRO_BATCHES).run(tmp_path)
    assert_same_training(found, alone)
    golden(strategy, found.losses)
    assert max(len(batches) for batches in found.consumed.values()) > 2


@pytest.mark.parametrize(
    "strategy",
    ["ddp", "fsdp2", *(pytest.param(s, marks=pytest.mark.drill) for s in ("zero2", "zero3"))],
)
def test_a_worker_whose_micro_batch_has_no_audio_neither_hangs_nor_changes_the_step(
    training: Training, tmp_path: Path, strategy: str
) -> None:
    """A clip less than there are workers: what hears nothing hears a moment of silence."""
    plan = training.plan[:3].copy()
    written = np.unique(training.plan[TEXT_ONLY_STEP])
    plan[1, 1:] = written[: plan.shape[1] - 1]
    plan[1, 0] = training.plan[1, 1]
    optimizer = training.optimizer.model_copy(update={"steps": 3, "warmup_steps": 1})
    short = replace(training, plan=plan, optimizer=optimizer)
    expected = short.run(tmp_path / "alone")
    found = short.under(2, strategy=strategy).run(tmp_path / "together")
    apart = [set(batch) <= set(written.tolist()) for batch in found.consumed[1]]
    assert sorted(apart) == [False, True], "one worker has text alone"
    assert found.losses == pytest.approx(expected.losses, rel=0, abs=1e-5)
    for name, weights in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weights, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("before", "num_workers", "after", "then"),
    [
        ("ddp", 2, "ddp", 1),
        ("ddp", 1, "fsdp2", 2),
        pytest.param("ddp", 2, "ddp", 2, marks=pytest.mark.drill),
        pytest.param("fsdp2", 2, "fsdp2", 2, marks=pytest.mark.drill),
        pytest.param("zero1", 2, "zero1", 2, marks=pytest.mark.drill),
        pytest.param("zero2", 2, "zero2", 2, marks=pytest.mark.drill),
        pytest.param("zero3", 2, "zero3", 2, marks=pytest.mark.drill),
        pytest.param("zero3_offload", 2, "zero3_offload", 2, marks=pytest.mark.drill),
        pytest.param("fsdp2", 2, "fsdp2", 1, marks=pytest.mark.drill),
        pytest.param("zero1", 2, "zero1", 1, marks=pytest.mark.drill),
        pytest.param("zero2", 2, "zero2", 1, marks=pytest.mark.drill),
        pytest.param("zero3", 2, "zero3", 1, marks=pytest.mark.drill),
        pytest.param("ddp", 1, "ddp", 2, marks=pytest.mark.drill),
        pytest.param("ddp", 1, "zero1", 2, marks=pytest.mark.drill),
        pytest.param("ddp", 1, "zero2", 2, marks=pytest.mark.drill),
        pytest.param("ddp", 1, "zero3", 2, marks=pytest.mark.drill),
        pytest.param("zero3", 2, "fsdp2", 3, marks=pytest.mark.drill),
        pytest.param("fsdp2", 2, "zero2", 3, marks=pytest.mark.drill),
    ],
)
def test_a_killed_group_goes_on_under_any_strategy_with_any_number_of_workers(
    training: Training,
    alone: Finished,
    tmp_path: Path,
    before: str,
    num_workers: int,
    after: str,
    then: int,
) -> None:
    last = Incident(step=12, rank=num_workers - 1)
    with pytest.raises(GroupFailedError) as failure:
        training.under(num_workers, strategy=before, **MICRO_BATCHES).run(tmp_path, last)
    assert failure.value.codes[-1] == -signal.SIGKILL
    (tmp_path / "audit.jsonl").rename(tmp_path / "before.jsonl")
    resumed = training.under(then, strategy=after, **MICRO_BATCHES).run(tmp_path)
    # The state of step 10 was perhaps still on its way.
    assert min(resumed.consumed) in (5, 10)
    assert_same_training(resumed, alone, first=min(resumed.consumed))


def test_a_workers_error_ends_all_workers(training: Training, tmp_path: Path) -> None:
    incident = Incident(step=3, rank=1, error="clip x of shard y can't be decoded")
    with pytest.raises(GroupFailedError) as failure:
        training.under(2).run(tmp_path, incident)
    assert failure.value.codes == [1, 1]
    assert failure.value.logs[1].rstrip().endswith("ValueError: clip x of shard y can't be decoded")


ADAPTED = TuningRecipe(audio_encoder="frozen", language_model="lora", lora_rank=4)


@pytest.fixture(scope="session")
def adapted_alone(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One process that trains the projector and adapters, under a frozen encoder."""
    recipe = training.optimizer.model_copy(update={"rate_factors": {"adapters": 2.0}})
    adapted = replace(training, tuning=ADAPTED, optimizer=recipe)
    return adapted.run(tmp_path_factory.mktemp("adapted"))


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp",
        pytest.param("fsdp2", marks=pytest.mark.drill),
        pytest.param("zero2", marks=pytest.mark.drill),
        pytest.param("zero3", marks=pytest.mark.drill),
    ],
)
def test_text_alone_trains_with_a_frozen_encoder_too(
    adapted_alone: Finished, tmp_path: Path, strategy: str
) -> None:
    found = adapted_alone.training.under(2, strategy=strategy, **MICRO_BATCHES).run(tmp_path)
    assert_same_training(found, adapted_alone)


@pytest.mark.parametrize("fixture", ["alone", "adapted_alone"])
def test_activation_checkpointing_changes_no_bit(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str
) -> None:
    expected: Finished = request.getfixturevalue(fixture)
    found = expected.training.under(1, activation_checkpointing=True).run(tmp_path)
    assert found.losses == expected.losses
    for name, weights in expected.weights.items():
        assert torch.equal(found.weights[name], weights), name


@pytest.mark.drill
@pytest.mark.parametrize("strategy", ["fsdp2", "zero2", "zero3"])
def test_activation_checkpointing_goes_with_shares(
    training: Training, alone: Finished, tmp_path: Path, strategy: str
) -> None:
    shared = training.under(2, strategy=strategy, activation_checkpointing=True, **MICRO_BATCHES)
    assert_same_training(shared.run(tmp_path), alone)


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp",
        pytest.param("fsdp2", marks=pytest.mark.drill),
        pytest.param("zero1", marks=pytest.mark.drill),
        pytest.param("zero2", marks=pytest.mark.drill),
        pytest.param("zero3", marks=pytest.mark.drill),
        pytest.param("zero3_offload", marks=pytest.mark.drill),
    ],
)
def test_a_refused_step_changes_no_weight(
    training: Training, tmp_path: Path, strategy: StrategyName
) -> None:
    Processes(tmp_path, 2).fit(partial(refuse_a_step, training, strategy))


@pytest.mark.drill
@pytest.mark.parametrize("strategy", ["fsdp2", "zero2"])
def test_ray_train_runs_shares_too(
    training: Training, alone: Finished, tmp_path: Path, strategy: str
) -> None:
    import ray

    for name in ("recordings", "training_jobs"):  # workers can't import them: they travel whole
        ray.cloudpickle.register_pickle_by_value(sys.modules[name])
    resources = Resources(num_cpus=2, num_workers=2, max_failures=0)
    try:
        on_ray = OnRay(resources, "", tmp_path / "ray")
        found = training.under(2, strategy=strategy, **MICRO_BATCHES).run(tmp_path, compute=on_ray)
    finally:
        ray.shutdown()
    assert_same_training(found, alone)
