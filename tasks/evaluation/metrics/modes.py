"""Dual mode: whether the model tells a spoken question from audio to describe."""

from data_contracts.answer_records import EvaluationItem
from tasks.evaluation.metrics.metric import Metric, Verdict, ratio
from tasks.evaluation.metrics.normalisation import normalise_label


def _mode_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Whether the answer is one of those of its mode, which are the item's choices."""
    answers_of_mode = {normalise_label(answer) for answer in item.choices}
    if normalise_label(item.conversation.answer) not in answers_of_mode:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            f"is not among its {len(item.choices)} choices: dual_mode asks whether the answer is "
            "one of its mode's answers. List all of them in `choices`."
        )
    return (float(normalise_label(hypothesis) in answers_of_mode), 1.0)


DUAL_MODE = Metric(
    "dual_mode",
    "right mode",
    higher_is_better=True,
    row=_mode_row,
    from_totals=ratio,
    # An answer of the right mode may still be the answer to another question.
    verdict=Verdict("right mode", "wrong mode", shows_score=False),
)
