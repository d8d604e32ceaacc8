"""The table of contents: every stage of the pipeline, then the order in which they run.

ingest -> start -> pretrain -> sft -> collect_preferences -> dpo -> evaluate.
A profile's `stages` chooses among them. A stage is one entry here: its recipe is a key of every
profile, `q2a plan` asks its estimate, and the function `pipeline` runs it under Prefect, in this
process (tests), or on paper (`q2a plan`): the runner decides what calling a stage means.
"""

from collections.abc import Sequence

from flows.composition import Inputs, chosen
from flows.config import PipelineConfig, with_recipes
from flows.sources import open_checkpoint, open_recordings, open_weights
from flows.stage import Artifact, Digest, Runner, Stage, StageCall
from infra.storage.store import Store
from tasks import collect_preferences, dpo, evaluate, ingest, pretrain, sft, start
from tasks import corpus_problems as problems
from tasks.estimates.answering_cost import estimate_evaluation, estimate_preferences
from tasks.estimates.estimate import known_when_run, soon_done
from tasks.estimates.training_cost import estimate_dpo, estimate_pretrain, estimate_supervised
from tasks.hygiene import inspect as inspection
from tasks.initial_model.build import ReleasedRecipe, StartRecipe
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
START = Stage(
    name="start",
    version=1,
    recipe=StartRecipe,
    inputs={"corpus": (INGEST,)},
    reads=lambda recipe, _: bool(recipe.reads_corpus),
    run=start.run,
    check=start.check,
    estimate=soon_done,
    source=open_weights,
    makes_checkpoint=True,
)
PRETRAIN = Stage(
    name="pretrain",
    version=2,
    recipe=pretrain.PretrainRecipe,
    inputs={"corpus": (INGEST,)},
    checkpoints="one",
    needs=problems.pretrain_problems,
    run=pretrain.run,
    check=training.check,
    estimate=estimate_pretrain,
    makes_checkpoint=True,
    registers_model="pretrain",
    pages=(training.PARITY,),
    headline=training.headline,
)
SFT = Stage(
    name="sft",
    version=2,
    recipe=sft.SftRecipe,
    inputs={"corpus": (INGEST,)},
    checkpoints="one",
    needs=problems.sft_problems,
    run=sft.run,
    check=training.check,
    estimate=estimate_supervised,
    makes_checkpoint=True,
    registers_model="sft",
    pages=(training.PARITY,),
    headline=training.headline,
)
COLLECT_PREFERENCES = Stage(
    name="collect_preferences",
    version=2,
    recipe=collect_preferences.CollectRecipe,
    inputs={"corpus": (INGEST,)},
    checkpoints="one",
    needs=problems.collect_preferences_problems,
    run=collect_preferences.run,
    check=collect_preferences.check,
    estimate=estimate_preferences,
)
DPO = Stage(
    name="dpo",
    version=2,
    recipe=dpo.DpoRecipe,
    inputs={"corpus": (INGEST,), "pairs": (INGEST, COLLECT_PREFERENCES)},
    checkpoints="one",
    needs=problems.dpo_problems,
    run=dpo.run,
    check=training.check,
    estimate=estimate_dpo,
    makes_checkpoint=True,
    registers_model="dpo",
    pages=(training.PARITY,),
    headline=training.headline,
)
EVALUATE = Stage(
    name="evaluate",
    version=1,
    recipe=evaluate.EvaluateRecipe,
    inputs={"corpus": (INGEST,), "pairs": (INGEST, COLLECT_PREFERENCES)},
    checkpoints="several",
    needs=problems.evaluate_problems,
    run=evaluate.run,
    check=evaluate.check,
    estimate=estimate_evaluation,
    pages=(evaluate.REPORT_PAGE, evaluate.REPORT_JSON),
    headline=lambda directory: evaluate.headline(evaluate.read_report(directory)),
)
STAGES = (INGEST, START, PRETRAIN, SFT, COLLECT_PREFERENCES, DPO, EVALUATE)


def pipeline(
    config: PipelineConfig,
    run: Runner,
    digest: Digest = Store.digest,
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Call the stages of a run in order, each with artifacts of earlier ones as its inputs.

    Args:
        digest: digest of a file of pre-trained weights; one that remembers spares reading it.
        stages: all that there are; the configuration chooses.

    Raises:
        ConfigError: the stages that are wanted don't fit together.
    """
    made: dict[str, Artifact] = {}

    def given(location: str) -> Artifact:
        released = StartRecipe(model=ReleasedRecipe(kind="released"))
        return run(StageCall(START, released, {}, open_checkpoint(location, digest)))

    inputs = Inputs(config, made, given)
    for stage in chosen(config, stages):
        source = stage.source(config, digest) if stage.source else None
        call = StageCall(stage, config.recipe(stage.name), inputs.of(stage), source)
        made[stage.name] = run(call)


def config_type(stages: Sequence[Stage] = STAGES) -> type[PipelineConfig]:
    """Return the class of configurations that hold the recipes of all these stages."""
    return with_recipes({stage.name: stage.recipe for stage in stages})
