"""The table of contents: every stage of the pipeline, then the order in which they run.

ingest -> pretrain -> sft -> collect_preferences -> dpo -> evaluate

A stage is one entry here. Its recipe becomes a key of every profile, `q2a plan` asks its estimate,
and the same function `pipeline` runs it under Prefect (`flows/prefect_runner.py`), in this process
(tests), or on paper (`q2a plan`): the runner decides what calling a stage means.
"""

from collections.abc import Sequence

from flows.config import PipelineConfig, with_recipes
from flows.sources import open_recordings, open_weights
from flows.stage import Artifact, Digest, Runner, Stage, StageCall
from infra.storage.store import Store
from tasks import collect_preferences, dpo, evaluate, ingest, pretrain, sft
from tasks.estimates.answering_cost import estimate_evaluation, estimate_preferences
from tasks.estimates.estimate import known_when_run
from tasks.estimates.training_cost import estimate_dpo, estimate_pretrain, estimate_supervised
from tasks.hygiene import inspect as inspection
from tasks.training import fit as training

INGEST = Stage(
    name="ingest",
    version=3,
    recipe=ingest.IngestRecipe,
    inputs={},
    run=ingest.run,
    check=ingest.check,
    estimate=known_when_run,
    source=open_recordings,
    pages=(inspection.PAGE, inspection.REPORT),
)
PRETRAIN = Stage(
    name="pretrain",
    version=1,
    recipe=pretrain.PretrainRecipe,
    inputs={"corpus": INGEST},
    run=pretrain.run,
    check=training.check,
    estimate=estimate_pretrain,
    source=open_weights,
    registers_model="pretrain",
    pages=(training.PARITY,),
    headline=training.headline,
)
SFT = Stage(
    name="sft",
    version=1,
    recipe=sft.SftRecipe,
    inputs={"corpus": INGEST, "checkpoint": PRETRAIN},
    run=sft.run,
    check=training.check,
    estimate=estimate_supervised,
    registers_model="sft",
    pages=(training.PARITY,),
    headline=training.headline,
)
COLLECT_PREFERENCES = Stage(
    name="collect_preferences",
    version=1,
    recipe=collect_preferences.CollectRecipe,
    inputs={"corpus": INGEST, "checkpoint": SFT},
    run=collect_preferences.run,
    check=collect_preferences.check,
    estimate=estimate_preferences,
)
DPO = Stage(
    name="dpo",
    version=1,
    recipe=dpo.DpoRecipe,
    inputs={"corpus": INGEST, "checkpoint": SFT, "pairs": COLLECT_PREFERENCES},
    run=dpo.run,
    check=training.check,
    estimate=estimate_dpo,
    registers_model="dpo",
    pages=(training.PARITY,),
    headline=training.headline,
)
EVALUATE = Stage(
    name="evaluate",
    version=1,
    recipe=evaluate.EvaluateRecipe,
    inputs={
        "corpus": INGEST,
        "pairs": COLLECT_PREFERENCES,
        "base": PRETRAIN,
        "sft": SFT,
        "dpo": DPO,
    },
    run=evaluate.run,
    check=evaluate.check,
    estimate=estimate_evaluation,
    pages=(evaluate.REPORT_PAGE, evaluate.REPORT_JSON),
    headline=lambda directory: evaluate.headline(evaluate.read_report(directory)),
)
STAGES = (INGEST, PRETRAIN, SFT, COLLECT_PREFERENCES, DPO, EVALUATE)


def pipeline(
    config: PipelineConfig,
    run: Runner,
    digest: Digest = Store.digest,
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Call all stages in their order, each with the artifacts of earlier ones as its inputs.

    Args:
        digest: digest of a file of pre-trained weights; one that remembers spares reading it.

    Raises:
        TypeError: a stage reads the artifact of one that does not come before it.
    """
    made: dict[str, Artifact] = {}
    for stage in stages:
        inputs = {
            name: made[maker.name] for name, maker in stage.inputs.items() if maker.name in made
        }
        source = stage.source(config, digest) if stage.source else None
        made[stage.name] = run(StageCall(stage, config.recipe(stage.name), inputs, source))


def config_type(stages: Sequence[Stage] = STAGES) -> type[PipelineConfig]:
    """Return the class of configurations that hold the recipes of all these stages."""
    return with_recipes({stage.name: stage.recipe for stage in stages})
