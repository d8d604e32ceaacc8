"""A training whose store fails, whose state is damaged, which is interrupted or stands still."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from infra.storage.store import Store
from model import forward
from tasks.objectives import supervised
from tasks.training.guards.stall import StallError, StallGuard
from tests.support.clock import Clock
from tests.support.drill_tools import DrillReport
from tests.support.repeated_pretraining import (
    World,
    assert_equals_the_undisturbed_run,
    held_out_losses,
)
from tests.support.tiny_run import TinyRun


class FlakyFileSystem(LocalFileSystem):  # type: ignore[misc]
    """A store over the network that loses one upload in three."""

    protocol = "flaky"
    uploads = 0
    lost: ClassVar[set[str]] = set()
    """Each is lost once: threads that upload at the same time share the count."""

    def __init__(self, **options: Any) -> None:
        super().__init__(auto_mkdir=True, **options)

    def put_file(self, source: str, target: str, **options: Any) -> None:
        FlakyFileSystem.uploads += 1
        if FlakyFileSystem.uploads % 3 == 0 and target not in self.lost:
            self.lost.add(target)
            raise OSError("503 Slow Down")
        super().put_file(source, target, **options)

    def unstrip_protocol(self, name: str) -> str:
        return f"flaky://{name}"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("flaky://")))


@pytest.mark.fault
def test_a_store_that_fails_one_upload_in_three_costs_only_time(
    world: World,
    tiny_run: TinyRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drill_report: DrillReport,
) -> None:
    monkeypatch.setattr("infra.storage.file_systems.FIRST_BACKOFF_SECONDS", 0.01)
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    world.directory = Store(f"flaky://{tmp_path}/flaky")
    uploads, began = FlakyFileSystem.uploads, time.monotonic()
    world.run()
    lost = time.monotonic() - began - tiny_run.seconds("pretrain")
    assert FlakyFileSystem.uploads - uploads > 60
    assert_equals_the_undisturbed_run(world, tiny_run)
    said = "attempt 1 of 6 failed (OSError: 503 Slow Down); again in "
    drill_report.add("store", "one upload in three fails", lost, world.log, said)


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Lets the training end with an error when a step begins."""
    beat = StallGuard.beat

    def set_step(planned: int | None) -> None:
        def interrupted(guard: StallGuard, step: int) -> None:
            if step == planned:
                raise KeyboardInterrupt
            beat(guard, step)

        monkeypatch.setattr(StallGuard, "beat", interrupted)

    return set_step


@pytest.mark.fault
def test_a_state_truncated_after_its_upload_costs_the_steps_since_the_one_before(
    world: World,
    tiny_run: TinyRun,
    interrupt_at: Callable[[int | None], None],
    drill_report: DrillReport,
) -> None:
    began = time.monotonic()
    interrupt_at(15)
    with pytest.raises(KeyboardInterrupt):
        world.run()
    newest = Path(world.directory.path("scratch/states/00000014/optimizer.safetensors"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    interrupt_at(None)
    world.run()
    lost = time.monotonic() - began - tiny_run.seconds("pretrain")
    said = "scratch/states/00000014 is skipped for the one before"
    what = "training is stopped, and its newest state is cut in half after its upload"
    drill_report.add("training state", what, lost, world.log, said)
    assert "continues from the state after step 12 on 1 worker" in world.log
    assert "q2a.checkpoint.damaged.00000014" in world.tagged
    assert_equals_the_undisturbed_run(world, tiny_run)


def test_a_training_in_a_store_elsewhere_continues_bit_by_bit_and_leaves_no_copy_of_its_state(
    world: World, tiny_run: TinyRun, interrupt_at: Callable[[int | None], None]
) -> None:
    world.directory = Store("memory://elsewhere/artifact")
    interrupt_at(15)
    with pytest.raises(KeyboardInterrupt):
        world.run()
    interrupt_at(None)
    world.run()
    assert "continues from the state after step 14 on 1 worker" in world.log
    assert_equals_the_undisturbed_run(world, tiny_run)
    assert list(world.scratch.iterdir()) == []
    world.directory.delete("")


def test_a_training_that_continues_in_a_new_run_logs_its_earlier_held_out_losses_there_too(
    world: World, interrupt_at: Callable[[int | None], None]
) -> None:
    interrupt_at(15)
    with pytest.raises(KeyboardInterrupt):
        world.run(early_evaluation_every_steps=5)
    before = held_out_losses(world)
    world.logged.clear()  # MLflow's run of the killed command is over, the next one has its own
    interrupt_at(None)
    world.run(early_evaluation_every_steps=5)
    after = held_out_losses(world)
    assert set(before) == {5, 10, 15}
    assert list(after) == [5, 10, 15, 20, 25, 30]
    assert {step: after[step] for step in before} == before


def test_a_planted_stall_prints_the_stacks_and_stops_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_of, calls, clock = forward.cross_entropy, [], Clock()
    monkeypatch.setattr("tasks.training.guards.stall.time", clock)

    def stand_still(*args: Any) -> torch.Tensor:
        calls.append(args)
        while len(calls) > 10:
            clock.sleep(60)  # the steps before take no time at all
            threading.Event().wait(0.01)
        return loss_of(*args)

    monkeypatch.setattr(supervised, "cross_entropy", stand_still)
    with pytest.raises(StallError, match=r"worker 0 is in step 10 for more than 2 s"):
        world.run(stall_seconds=2)
    (line,) = [text for text in world.said if "its threads:" in text]
    print(line)
    assert "in stand_still" in line
    assert "stacks/step-00000010-worker-0.txt" in world.files
