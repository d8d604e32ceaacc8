"""`report.json` keeps its bytes: those of a file that was written before metrics were entries."""

from pathlib import Path

from tasks.evaluation.answered_suites import Evaluation
from tasks.evaluation.report_builder import build_report
from tests.tasks.evaluation import small_evaluation

GOLDEN = Path(__file__).with_name("golden_report.json")


def test_the_report_of_a_small_evaluation_keeps_its_bytes() -> None:
    evaluation = Evaluation(
        title="Small <evaluation>",
        checkpoints=small_evaluation.CHECKPOINTS,
        items=small_evaluation.items(),
        predictions=small_evaluation.predictions(),
        train_answers={"sound": ["dog", "dog", "cat"]},
        provenance={"corpus": "0123"},
    )
    report = build_report(evaluation, seed=7, num_examples=100)
    assert report.model_dump_json(indent=1) + "\n" == GOLDEN.read_text()
