"""One training stage under planted faults, in this process, on a real tiny corpus."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem

from infra.compute.in_process import InProcess
from infra.compute.resources import Resources
from infra.storage.store import Store
from model import forward
from model.checkpoints.checkpoint import load_checkpoint
from tasks import pretrain
from tasks.context import StageContext
from tasks.corpus import features as corpus_features
from tasks.objectives import supervised
from tasks.training.guards.divergence import DivergedError, WatchRecipe
from tasks.training.guards.stall import StallError, StallGuard
from tests.support.clock import Clock
from tests.support.drill_tools import DrillReport
from tests.support.tiny_run import TinyRun, history_numbers

WEIGHTS = "checkpoint/model.safetensors"


@dataclass
class World:
    """A pre-training of the tiny run, made again elsewhere, and what was said about it."""

    directory: Store
    corpus: Store
    recipe: pretrain.PretrainRecipe
    scratch: Path
    said: list[str] = field(default_factory=list)
    tagged: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    rows: list[Mapping[str, object]] = field(default_factory=list)
    logged: list[tuple[Mapping[str, float], int]] = field(default_factory=list)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.logged.append((values, step))

    def tags(self, values: Mapping[str, str]) -> None:
        self.tagged |= values

    def text(self, content: str, file: str) -> None:
        self.files[file] = content

    def table(self, rows: Sequence[Mapping[str, object]], _file: str) -> None:
        self.rows += rows

    def run(self, watch: WatchRecipe | None = None, **resources: Any) -> None:
        recipe = self.recipe
        if watch:
            optimizer = recipe.optimizer.model_copy(update={"watch": watch})
            recipe = recipe.model_copy(update={"optimizer": optimizer})
        steps = {"checkpoint_every_steps": 2, "log_every_steps": 3} | resources
        context = StageContext(
            directory=self.directory,
            inputs={"corpus": self.corpus},
            logger=self,
            compute=InProcess(),
            resources=Resources(backend="process", **steps),
            scratch=self.scratch,
            progress=self.said.append,
        )
        pretrain.run(context, recipe)

    @property
    def log(self) -> str:
        return "\n".join(self.said)

    @property
    def numbers(self) -> list[dict[str, float]]:
        return history_numbers(self.directory)


@pytest.fixture
def world(tmp_path: Path, tiny_run: TinyRun) -> World:
    return World(
        directory=Store(str(tmp_path / "artifact")),
        corpus=tiny_run.artifact("ingest"),
        recipe=tiny_run.config.pretrain,
        scratch=tmp_path / "scratch",
    )


def assert_equals_the_undisturbed_run(world: World, tiny_run: TinyRun) -> None:
    undisturbed = tiny_run.artifact("pretrain")
    assert world.directory.digest(WEIGHTS) == undisturbed.digest(WEIGHTS)
    assert world.numbers == history_numbers(undisturbed)
    assert world.tagged["q2a.audit"] == "every planned example was consumed once"


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
    index = {json.loads(line)["id"]: json.loads(line) for line in index_lines(world.corpus)}
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
    from tasks.corpus.shards import INDEX

    return corpus.read_text(INDEX).splitlines()


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


def held_out_losses(world: World) -> dict[int, float]:
    return {step: v["held_out_loss"] for v, step in world.logged if "held_out_loss" in v}


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
