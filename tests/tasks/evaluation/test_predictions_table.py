"""Predictions side by side, small enough for a page."""

from collections import Counter

from tasks.evaluation.predictions_table import predictions_table
from tests.tasks.evaluation.small_evaluation import (
    items,
    make_item,
    predict,
    predictions,
)


def test_a_row_has_the_question_the_reference_and_each_checkpoints_answer_and_score() -> None:
    item = make_item("digits", 7, "3 7", "wer")
    (row,) = predictions_table([item], predict([item], {"base": ["3"], "sft": ["3 7"]}))
    assert row == {
        "suite": "digits",
        "id": "digits7",
        "question": "Question 7?",
        "reference": "3 7",
        "base: answer": "3",
        "base: score": "0.5",
        "sft: answer": "3 7",
        "sft: score": "0",
    }


def test_every_item_of_a_small_evaluation_has_a_row_with_the_same_columns() -> None:
    rows = predictions_table(items(), predictions())
    assert [row["id"] for row in rows] == [item.conversation.id for item in items()]
    assert len({tuple(row) for row in rows}) == 1


def test_a_large_evaluation_shows_as_many_of_each_suite_and_cuts_long_answers() -> None:
    many = [make_item("large", number, "yes", "accuracy") for number in range(2_000)]
    some = [make_item("small", number, "yes", "accuracy") for number in range(10)]
    answers = ["x" * 9_000] * (len(many) + len(some))
    rows = predictions_table([*many, *some], predict([*many, *some], {"sft": answers}))
    assert Counter(row["suite"] for row in rows) == {"large": 500, "small": 10}
    assert {len(str(row["sft: answer"])) for row in rows} == {500}


def test_nothing_asked_is_no_table() -> None:
    assert predictions_table([], []) == []
