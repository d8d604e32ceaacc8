"""The pipeline, read from top to bottom: every stage, then the order in which they run.

ingest -> pretrain -> sft -> collect_preferences -> dpo -> evaluate

The same function runs under Prefect (`flows/prefect_runner.py`), in this process (tests), or on
paper (`q2a plan`): the runner decides what calling a stage means.
"""

from collections.abc import Callable
from functools import partial

from flows.config import PipelineConfig
from flows.stage import Artifact, Runner, Source, Stage, StageCall
from infra.storage.store import Store
from tasks import collect_preferences, dpo, evaluate, ingest, pretrain, sft
from tasks.hygiene import inspect as inspection
from tasks.initial_model.build import WeightSource, weights_digest
from tasks.sources.manifest import DataSource, source_digest
from tasks.training import fit as training

INGEST = Stage(
    name="ingest",
    version=3,
    inputs=(),
    run=ingest.run,
    check=ingest.check,
    pages=(inspection.PAGE, inspection.REPORT),
)
PRETRAIN = Stage(
    name="pretrain",
    version=1,
    inputs=("corpus",),
    run=pretrain.run,
    check=training.check,
    registers_model="pretrain",
    pages=(training.PARITY,),
)
SFT = Stage(
    name="sft",
    version=1,
    inputs=("corpus", "checkpoint"),
    run=sft.run,
    check=training.check,
    registers_model="sft",
    pages=(training.PARITY,),
)
COLLECT_PREFERENCES = Stage(
    name="collect_preferences",
    version=1,
    inputs=("corpus", "checkpoint"),
    run=collect_preferences.run,
    check=collect_preferences.check,
)
DPO = Stage(
    name="dpo",
    version=1,
    inputs=("corpus", "checkpoint", "pairs"),
    run=dpo.run,
    check=training.check,
    registers_model="dpo",
    pages=(training.PARITY,),
)
EVALUATE = Stage(
    name="evaluate",
    version=1,
    inputs=("corpus", "pairs", "base", "sft", "dpo"),
    run=evaluate.run,
    check=evaluate.check,
    pages=(evaluate.REPORT_PAGE, evaluate.REPORT_JSON),
)
STAGES = (INGEST, PRETRAIN, SFT, COLLECT_PREFERENCES, DPO, EVALUATE)


def pipeline(
    config: PipelineConfig, run: Runner, digest: Callable[[Store, str], str] = Store.digest
) -> Artifact:
    """Call all stages in order; returns the evaluation.

    Args:
        digest: of a file of pre-trained weights; one that remembers spares reading them.
    """
    corpus = run(StageCall(INGEST, config.ingest, {}, open_source(config.data)))
    weights = open_weights(config.weights, digest) if config.weights else None
    base = run(StageCall(PRETRAIN, config.pretrain, {"corpus": corpus}, weights))
    tuned = run(StageCall(SFT, config.sft, {"corpus": corpus, "checkpoint": base}))
    pairs = run(
        StageCall(
            COLLECT_PREFERENCES,
            config.collect_preferences,
            {"corpus": corpus, "checkpoint": tuned},
        )
    )
    aligned = run(
        StageCall(DPO, config.dpo, {"corpus": corpus, "checkpoint": tuned, "pairs": pairs})
    )
    return run(
        StageCall(
            EVALUATE,
            config.evaluate,
            {"corpus": corpus, "pairs": pairs, "base": base, "sft": tuned, "dpo": aligned},
        )
    )


def open_weights(weights: WeightSource, digest: Callable[[Store, str], str]) -> Source:
    """The pre-trained weights that pre-training starts from; opening them checks every tensor."""
    return Source(weights_digest(weights, digest), weights, list)


def open_source(data: DataSource) -> Source:
    """The recordings that ingest starts from."""
    return Source(source_digest(data), data, partial(ingest.check_source, data))
