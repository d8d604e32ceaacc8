"""The demo reaches its held-out goals. Minutes where it has not run yet, seconds where it has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.config import load_config
from flows.pipeline import pipeline
from flows.plan import Planner
from flows.runners import open_ledger
from infra.settings import Settings
from tasks.evaluate import read_report
from tasks.evaluation.report import Report

pytestmark = pytest.mark.drill

ROOT = Path(__file__).parents[2]
COMMAND = [str(Path(sys.executable).parent / "q2a"), "run", "--profile", "demo"]


@pytest.fixture(scope="module")
def report() -> Report:
    """The report of `make demo` in this checkout, made now where it is missing."""
    home = ROOT / "runs"
    variables = {"Q2A_HOME": str(home), "Q2A_STORE": "", "Q2A_TRACKING_URI": ""}
    subprocess.run(COMMAND, cwd=ROOT, env=os.environ | variables, check=True)
    ledger = open_ledger(Settings(home=home, store="", tracking_uri=""))
    planner = Planner(ledger)
    pipeline(load_config("demo", [f"data.manifest={ROOT / 'data/manifest.jsonl'}"]), planner)
    last = planner.planned[-1]
    assert last.state == "hit"
    return read_report(ledger.directory(last.stage, last.fingerprint))


@pytest.mark.parametrize("checkpoint", ["pretrain", "sft", "dpo"])
def test_spoken_digits_of_an_unseen_real_speaker_are_recognised(
    report: Report, checkpoint: str
) -> None:
    assert report.result("digits", checkpoint).value <= 0.30


@pytest.mark.parametrize("checkpoint", ["pretrain", "sft", "dpo"])
@pytest.mark.parametrize(("suite", "goal"), [("sound", 0.40), ("family", 0.45)])
def test_sounds_are_classified(report: Report, suite: str, goal: float, checkpoint: str) -> None:
    result = report.result(suite, checkpoint)
    assert result.metric == "balanced_accuracy"
    assert result.value >= goal


@pytest.mark.parametrize("checkpoint", ["sft", "dpo"])
def test_facts_asked_by_an_unseen_voice_are_answered(report: Report, checkpoint: str) -> None:
    result = report.result("voice_chat", checkpoint)
    assert result.low > result.majority
