"""Predictions side by side, as a table that MLflow shows: who answered what to which question."""

from collections.abc import Mapping, Sequence

from data_contracts.answer_records import EvaluationItem, Prediction

FILE = "predictions.json"
_ROWS = 1000
"""Most rows: MLflow's page holds the table as a whole."""
_CHARACTERS = 500
"""Most characters of a cell."""


def predictions_table(
    items: Sequence[EvaluationItem], predictions: Sequence[Prediction]
) -> list[Mapping[str, object]]:
    """Return a row for each item: question, reference, and each checkpoint's answer and score.

    Each suite has the same share of at most 1,000 rows, its first items. The artifact has all of
    them, `predictions.jsonl`.
    """
    answers = {(p.suite, p.id, p.checkpoint): p for p in predictions}
    checkpoints = list(dict.fromkeys(p.checkpoint for p in predictions))
    suites = dict.fromkeys(item.suite for item in items)
    left = dict.fromkeys(suites, _ROWS // max(len(suites), 1))
    rows: list[Mapping[str, object]] = []
    for item in items:
        if left[item.suite] <= 0:
            continue
        left[item.suite] -= 1
        row = {
            "suite": item.suite,
            "id": item.conversation.id,
            "question": item.conversation.prompt[-1].text,
            "reference": item.conversation.answer,
        }
        for name in checkpoints:
            answer = answers.get((item.suite, item.conversation.id, name))
            row[f"{name}: answer"] = answer.hypothesis if answer else ""
            row[f"{name}: score"] = f"{answer.score:.4g}" if answer else ""
        rows.append({key: text[:_CHARACTERS] for key, text in row.items()})
    return rows
