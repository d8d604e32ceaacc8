"""The pre-training of the tiny run, made again in this process under planted faults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.compute.in_process import InProcess
from infra.compute.resources import Resources
from infra.storage.store import Store
from tasks import pretrain
from tasks.context import StageContext
from tasks.training.guards.divergence import WatchRecipe
from tests.support.tiny_run import TinyRun, history_numbers

WEIGHTS = "checkpoint/model.safetensors"


@dataclass
class World:
    """A pre-training of the tiny run, made again elsewhere, and what was said about it."""

    directory: Store
    inputs: Mapping[str, Store]
    """Corpus, and checkpoint to start from."""
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

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        self.rows += rows if file == "held_out_answers.json" else []

    def run(self, watch: WatchRecipe | None = None, **resources: Any) -> None:
        recipe = self.recipe
        if watch:
            optimizer = recipe.optimizer.model_copy(update={"watch": watch})
            recipe = recipe.model_copy(update={"optimizer": optimizer})
        steps = {"checkpoint_every_steps": 2, "log_every_steps": 3} | resources
        context = StageContext(
            directory=self.directory,
            inputs=self.inputs,
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


def assert_equals_the_undisturbed_run(world: World, tiny_run: TinyRun) -> None:
    """The same weights and history to the last bit, of an exact audit."""
    undisturbed = tiny_run.artifact("pretrain")
    assert world.directory.digest(WEIGHTS) == undisturbed.digest(WEIGHTS)
    assert world.numbers == history_numbers(undisturbed)
    assert world.tagged["q2a.audit"] == "every planned example was consumed once"


def held_out_losses(world: World) -> dict[int, float]:
    """Step -> the held-out loss that was logged there."""
    return {step: v["held_out_loss"] for v, step in world.logged if "held_out_loss" in v}
