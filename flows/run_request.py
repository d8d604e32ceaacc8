"""Request for a run, as the command line and Prefect's form give it, and what it asks for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a command that only prints its help imports nothing heavy
    from flows.config import PipelineConfig
    from infra.settings import Settings
    from infra.tracking import RunLogger


@dataclass(frozen=True)
class RunRequest:
    """Everything that a run is asked with."""

    profile: str = "demo"
    """Name of a shipped profile, or the path of a file."""
    data: Sequence[str] = ()
    """Own recordings: a manifest, a folder or a saved data set; or corpora, NAME=ROOT each."""
    start: str | None = None
    """Finished checkpoint that the run starts from; None: what the profile says."""
    stages: Sequence[str] = ()
    """Stages that run; empty: those of the profile."""
    overrides: Sequence[str] = ()
    """`a.b.c=value` each; they win over all that stands above."""
    resume: str | None = None
    """MLflow id of a pipeline run to continue; its values then stand for the profile's."""
    until: str | None = None
    """Last stage to run; None: all."""

    def load(self) -> "PipelineConfig":
        """Read and validate the configuration.

        Raises:
            ConfigError: unknown profile, key or stage, or a value that breaks a field's rule.
            UsageError: `data` names several things that are no corpora, or nothing that there is.
        """
        from flows.composition import chosen
        from flows.config import load_config
        from flows.pipeline import STAGES, config_type
        from flows.profile_files import ConfigError
        from flows.sources import located

        config = located(load_config(self.profile, [*self._all_overrides()], config_type()))
        names = [stage.name for stage in chosen(config, STAGES)]
        if self.until is not None and self.until not in names:
            raise ConfigError(f"there is no stage {self.until!r}; there are {names}")
        return config

    def reopen(self, settings: "Settings") -> "tuple[PipelineConfig, RunLogger]":
        """Return the configuration of the run `resume` with the overrides, and its MLflow run.

        Raises:
            ConfigError: an override is no valid one, or the kept configuration no longer is.
        """
        from flows.config import parse_config
        from flows.pipeline import config_type
        from flows.profile_files import apply_overrides
        from flows.runners import open_tracking

        parent, values = open_tracking(settings).reopen_pipeline(self.resume or "")
        apply_overrides(values, [*self._all_overrides()])
        return parse_config(values, f"pipeline run {self.resume}", config_type()), parent

    def as_options(self) -> list[str]:
        """Return the options of a command that asks for the same."""
        return ["--profile", self.profile, *(w for o in self._all_overrides() for w in ("-s", o))]

    def _all_overrides(self) -> Iterator[str]:
        """Yield what data, start and stages stand for, then the overrides themselves."""
        import json

        if self.data:
            yield f"data={json.dumps(_data_source(self.data))}"
        if self.start:
            yield f"weights={json.dumps({'released': self.start})}"
            yield "start.model={kind: released}"
        if self.stages:
            yield f"stages={json.dumps([*self.stages])}"
        yield from self.overrides


def _data_source(texts: Sequence[str]) -> dict[str, object]:
    """Return the group `data` that some short forms stand for together.

    Raises:
        UsageError: there are several, and not all are corpora.
    """
    from data_contracts.errors import UsageError
    from tasks.sources.named_source import data_source

    if len(texts) > 1 and not all("=" in text for text in texts):
        raise UsageError(
            f"data names {[*texts]}: several have to be corpora, NAME=ROOT each. Give one "
            "manifest or folder, or corpora alone"
        )
    first, *others = [data_source(text) for text in texts]
    if not others:
        return first
    given = [source["corpora"] for source in (first, *others)]
    return {"corpora": [corpus for some in given if isinstance(some, list) for corpus in some]}
