"""Composition of a run: which stages it has, and whose artifacts each of them reads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.config import PipelineConfig
from flows.profile_files import ConfigError
from flows.stage import Artifact, Stage


def chosen(config: PipelineConfig, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages that a configuration wants, in the order in which they run.

    Raises:
        ConfigError: it names one that there is not, or gives one that it wants no recipe; or a
            stage reads what none before it makes. All such problems are named at once.
    """
    known = [stage.name for stage in stages]
    if unknown := sorted(set(config.stages) - set(known)):
        raise ConfigError(f"stages names {unknown}; there are {known}")
    wanted = tuple(stage for stage in stages if not config.stages or stage.name in config.stages)
    if problems := [*_problems(config, wanted)]:
        raise ConfigError("\n".join(problems))
    return wanted


def _problems(config: PipelineConfig, stages: Sequence[Stage]) -> Iterator[str]:
    """Yield what each stage lacks, with the remedy."""
    made: dict[str, Stage] = {}
    for stage in stages:
        if not config.has_recipe(stage.name):
            yield (
                f"{stage.name} has no recipe: give it one under the key {stage.name!r} of the "
                "profile, or leave it out of `stages`"
            )
            continue
        for name, makers in _needed(config, stage).items():
            if not any(maker.name in made for maker in makers):
                names = " or ".join(maker.name for maker in makers)
                yield (
                    f"{stage.name} reads {name}, which {names} makes, and no such stage comes "
                    "before it: add one to `stages`, or leave it out"
                )
        starts = [name for name, each in made.items() if each.makes_checkpoint]
        if stage.checkpoints == "one" and not starts and stage.name not in config.origins:
            yield (
                f"{stage.name} reads a checkpoint, and no stage before it makes one: add `start` "
                "to `stages`, or name a finished one in `origins`"
            )
        if (
            stage.checkpoints == "several"
            and not config.compare
            and all(config.is_random(name) for name in starts)
        ):
            yield (
                f"{stage.name} has no checkpoint to compare but random weights: add a stage that "
                "trains, start from a finished one (`--from`), or name some in `compare`"
            )
        made[stage.name] = stage
    later = {stage.name for stage in stages}
    for name in sorted(set(config.origins) - later):
        yield f"origins names {name!r}, which is no stage of this run; it has {sorted(later)}"


def _needed(config: PipelineConfig, stage: Stage) -> Mapping[str, tuple[Stage, ...]]:
    recipe = config.recipe(stage.name)
    return {name: makers for name, makers in stage.inputs.items() if stage.reads(recipe, name)}


@dataclass(frozen=True)
class Inputs:
    """Finds the inputs of each stage among the artifacts that were made before."""

    config: PipelineConfig
    made: Mapping[str, Artifact]
    """Stage -> its artifact; it grows while the pipeline runs."""
    given: Callable[[str], Artifact]
    """Function that fetches a checkpoint from outside: its location -> its artifact."""

    def of(self, stage: Stage) -> dict[str, Artifact]:
        """Return the inputs of a stage by name."""
        inputs = {
            name: next(self.made[maker.name] for maker in reversed(makers) if self._has(maker))
            for name, makers in _needed(self.config, stage).items()
        }
        if stage.checkpoints == "one":
            wanted = self.config.origins.get(stage.name)
            inputs["checkpoint"] = self._checkpoint(wanted) if wanted else self._latest()
        elif stage.checkpoints == "several":
            compared = self.config.compare or {name: name for name in self._made_checkpoints()}
            inputs |= {name: self._checkpoint(maker) for name, maker in compared.items()}
        return inputs

    def _has(self, stage: Stage) -> bool:
        return stage.name in self.made

    def _checkpoint(self, name: str) -> Artifact:
        return self.made[name] if name in self.made else self.given(name)

    def _latest(self) -> Artifact:
        return [artifact for artifact in self.made.values() if artifact.stage.makes_checkpoint][-1]

    def _made_checkpoints(self) -> Iterator[str]:
        """Yield the checkpoints that are worth a comparison: random weights are not."""
        for name, artifact in self.made.items():
            if artifact.stage.makes_checkpoint and not self.config.is_random(name):
                yield name
