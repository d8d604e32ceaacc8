"""A new stage is one entry: it runs, is planned and estimated, and a profile sets its recipe."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from pydantic import Field

from data_contracts.contract import Contract, Rule
from data_contracts.contract_result import ContractResult
from data_contracts.recipe import Recipe
from data_contracts.validation import validate
from flows.config import PipelineConfig, load_config
from flows.estimates import estimate_stages
from flows.pipeline import INGEST, STAGES, config_type, pipeline
from flows.plan import plan_stages
from flows.profile_files import ConfigError
from flows.runners import run_here, session
from flows.stage import Artifact, Stage, StageCall
from infra.settings import Settings
from infra.storage.file_digests import FileDigests
from infra.storage.store import Store
from tasks.context import StageContext, StageResult
from tasks.corpus.shards import read_index
from tasks.estimates.estimate import Estimate, Premises, priced
from tests.support.tiny_run import TinyRun

COUNTS = "counts.json"
COUNTED = Contract(
    name="counts",
    id_column="id",
    columns=("id", "clips"),
    nullable=(),
    rules=(
        Rule(
            "counts.are_positive",
            "clips",
            "expect_column_values_to_be_between",
            "Count at least one clip.",
            {"min_value": 1},
        ),
    ),
)


class CountRecipe(Recipe):
    split: str = "train"
    """Split whose clips are counted."""
    least: int = Field(1, ge=1)
    """Clips of a language without which it is left out."""


def count_languages(context: StageContext, recipe: CountRecipe) -> StageResult:
    clips = [c for c in read_index(context.inputs["corpus"]) if c.split == recipe.split]
    counts = Counter(clip.language or "none" for clip in clips)
    kept = {name: number for name, number in counts.items() if number >= recipe.least}
    context.directory.write_text(COUNTS, json.dumps(kept))
    return StageResult(len(clips), len(kept))


def check_counts(directory: Store) -> list[ContractResult]:
    counts = json.loads(directory.read_text(COUNTS))
    frame = pd.DataFrame({"id": list(counts), "clips": list(counts.values())})
    return [validate(COUNTED, frame, "counts")]


def estimate_count(premises: Premises, recipe: CountRecipe) -> Estimate:
    hours = recipe.least / 3600
    return Estimate(examples=recipe.least, **priced(premises.resources, 1, hours))


COUNT = Stage(
    name="count",
    version=1,
    recipe=CountRecipe,
    inputs={"corpus": (INGEST,)},
    run=count_languages,
    check=check_counts,
    estimate=estimate_count,
)
MORE = (*STAGES, COUNT)


def tiny(tiny_overrides: tuple[str, ...], *more: str) -> PipelineConfig:
    return load_config("tiny", (*tiny_overrides, *more), config_type(MORE))


def test_it_runs_after_the_others_and_is_planned_and_hit(
    tiny_run: TinyRun, tiny_overrides: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run.settings.home, tmp_path, dirs_exist_ok=True)
    settings = Settings(home=tmp_path, store="", tracking_uri="")
    config = tiny(tiny_overrides, "count.least=2")
    digests = FileDigests(tmp_path / "digests.json")
    run = TinyRun(settings, config, "", (), ())

    before = plan_stages(config, lambda: run.ledger, digests, MORE)
    with session(config, settings, lambda _: None) as opened:
        run_here(opened, config, stages=MORE)
    after = plan_stages(config, lambda: run.ledger, digests, MORE)

    assert [stage.state for stage in before] == ["hit"] * len(STAGES) + ["miss"]
    assert (before[-1].stage, before[-1].reason) == ("count", "never made")
    assert {stage.state for stage in after} == {"hit"}
    outcome = opened.outcomes[-1]
    assert (outcome.stage, outcome.hit) == ("count", False)
    counts = json.loads(
        opened.ledger.directory("count", outcome.record.fingerprint).read_text(COUNTS)
    )
    expected = Counter(
        clip.language or "none"
        for clip in read_index(tiny_run.artifact("ingest"))
        if clip.split == "train"
    )
    assert counts == {name: number for name, number in expected.items() if number >= 2}
    changed = tiny(tiny_overrides, "count.least=3")
    assert plan_stages(changed, lambda: run.ledger, digests, MORE)[-1].reason == "least: 2 -> 3"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_configuration_names_the_recipe_of_each_shipped_stage(stage: Stage) -> None:
    annotation = PipelineConfig.model_fields[stage.name].annotation
    assert stage.recipe in (annotation, *get_args(annotation))
    assert config_type() is PipelineConfig


def test_it_is_estimated_with_the_others() -> None:
    estimates = estimate_stages(load_config("tiny", ["count.least=7"], config_type(MORE)), MORE)
    assert estimates.stages["count"].examples == 7
    assert list(estimates.stages)[-1] == "count"


def test_a_profile_may_leave_its_recipe_out_and_a_wrong_value_is_refused(
    tiny_overrides: tuple[str, ...],
) -> None:
    assert tiny(tiny_overrides).recipe("count") == CountRecipe()
    with pytest.raises(ConfigError, match=r"profile tiny: count\.least: .*greater than"):
        tiny(tiny_overrides, "count.least=0")
    with pytest.raises(ConfigError, match=r"count: Extra inputs"):
        load_config("tiny", ["count.least=1"])


def test_it_has_to_come_after_the_stage_that_it_reads(tiny_overrides: tuple[str, ...]) -> None:
    def run(call: StageCall) -> Artifact:
        return call.artifact

    with pytest.raises(ConfigError, match="count reads corpus, which ingest makes, and no such"):
        pipeline(tiny(tiny_overrides), run, stages=(COUNT, *STAGES))
