"""Preflight: what a run lacks, found before anything is spent on it, and named all at once."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_contracts.errors import DataError, UsageError
from flows.composition import chosen
from flows.config import PipelineConfig
from flows.estimates import estimate_stages
from flows.pipeline import INGEST, STAGES
from flows.plan import PlannedStage
from flows.stage import Artifact, Runner, Stage, StageCall
from infra.compute.hardware import GIB
from infra.ledger import Ledger
from infra.settings import Settings
from infra.storage.known_stores import open_store
from infra.storage.store import Store
from model.costs.shapes import count_parameters
from model.tuning import TuningRecipe
from tasks.initial_model.shape import UnknownShapeError

_BYTES_PER_PARAMETER = 4
"""Checkpoints hold float32."""


class NotReadyError(UsageError, ValueError):
    """This machine can't carry out the run that is asked for."""


class CorpusLacksError(DataError, ValueError):
    """The corpus has not what a later stage needs."""


@dataclass(frozen=True)
class Preflight:
    """A runner that looks at the corpus before it lets any later stage begin."""

    config: PipelineConfig
    ledger: Ledger
    run: Runner = field(repr=False)
    until: str | None = None
    stages: Sequence[Stage] = STAGES

    def __call__(self, call: StageCall) -> Artifact:
        """Run the stage; after ingest, refuse a corpus that a later stage can't work with.

        Raises:
            CorpusLacksError: with all that is missing, and what to do about it.
        """
        artifact = self.run(call)
        if call.stage.name == INGEST.name and self.until != INGEST.name:
            corpus = self.ledger.directory(INGEST.name, artifact.fingerprint)
            refuse_corpus(corpus_problems(self.config, corpus, self.stages, self.until))
        return artifact


def refuse_corpus(problems: Sequence[str]) -> None:
    """Raise one error about all problems of a corpus, where there are any.

    Raises:
        CorpusLacksError: there are some.
    """
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise CorpusLacksError(f"the corpus lacks what later stages need; nothing ran yet:{lines}")


def refuse_planned(
    config: PipelineConfig, planned: Sequence[PlannedStage], open_ledger: Callable[[], Ledger]
) -> None:
    """Refuse a plan whose manifest is out of reach, or whose corpus, if packed, lacks something.

    Public corpora may be out of reach: a plan for a cluster is made where they are not.

    Raises:
        CorpusLacksError: with all that is missing, and what to do about it.
    """
    for stage in planned:
        if stage.stage == INGEST.name and stage.state == "hit":
            corpus = open_ledger().directory(INGEST.name, stage.fingerprint)
            refuse_corpus(corpus_problems(config, corpus))
        elif stage.stage == INGEST.name and stage.state == "unknown" and not config.data.corpora:
            raise CorpusLacksError(f"nothing can be planned: {stage.reason}")


def corpus_problems(
    config: PipelineConfig,
    corpus: Store,
    stages: Sequence[Stage] = STAGES,
    until: str | None = None,
) -> list[str]:
    """Return what the wanted stages, as far as `until`, do not find in a finished corpus."""
    problems: list[str] = []
    made: set[str] = set()
    for stage in chosen(config, stages):
        made.add(stage.name)
        makers = (maker.name for name in stage.inputs.values() for maker in name)
        # What another stage is yet to make, such as sampled pairs, is none of the corpus's.
        if not set(makers) & (made - {INGEST.name}):
            problems += stage.needs(corpus, config.recipe(stage.name))
        if stage.name == until:
            break
    return problems


def refuse_machine(config: PipelineConfig, settings: Settings) -> None:
    """Refuse a run that this machine can't carry out.

    Raises:
        NotReadyError: with all that is missing, and what to do about it.
    """
    if problems := [*machine_problems(config, settings)]:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise NotReadyError(f"this machine can't carry out the run:{lines}")


def machine_problems(config: PipelineConfig, settings: Settings) -> Iterator[str]:
    """Yield what this machine lacks: GPUs, memory, free space."""
    if config.resources.gpus_per_worker and not settings.ray_address:
        import torch

        if not torch.cuda.is_available():
            yield (
                f"resources.gpus_per_worker is {config.resources.gpus_per_worker:g}, and torch "
                "finds no GPU here: run it where there is one, join a cluster by Q2A_RAY_ADDRESS, "
                "or set it to 0"
            )
    try:
        yield from _memory_problems(config)
        yield from _disk_problems(config, settings)
    except UnknownShapeError:
        return  # the weights are out of reach, which the stage that reads them says better


def _memory_problems(config: PipelineConfig) -> Iterator[str]:
    if config.resources.memory_gib is None:  # of a CPU it is not known
        return
    for name, stage in estimate_stages(config).stages.items():
        if stage.fits is False:
            yield f"{name} {'; '.join(stage.notes)}"


def _disk_problems(config: PipelineConfig, settings: Settings) -> Iterator[str]:
    store = open_store(settings)
    if not store.is_local:
        return
    shape, _ = config.initial_shape()
    parameters = count_parameters(shape, TuningRecipe()).total
    makers = [stage.name for stage in chosen(config, STAGES) if stage.makes_checkpoint]
    needed = len(makers) * parameters * _BYTES_PER_PARAMETER
    free = shutil.disk_usage(_existing(Path(store.url))).free
    if free < needed:
        yield (
            f"{store.url} has {free / GIB:.1f} GiB free, and the checkpoints of "
            f"{', '.join(makers)} alone take {needed / GIB:.1f}: make room, or name another store "
            "in Q2A_STORE"
        )


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
