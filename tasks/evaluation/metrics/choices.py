"""Multiple choice as AIR-Bench scores it: the letter that an answer names (`chosen_letter`).

An answer without a letter is left out of the accuracy; how many have one is shown beside it.
"""

from data_contracts.answer_records import EvaluationItem
from tasks.conversations.choices import chosen_letter
from tasks.evaluation.metrics.metric import RIGHT, Metric, ratio
from tasks.evaluation.metrics.normalisation import strip_tags


def _chosen_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Whether the letter is right, and whether there is one."""
    letter, right = _letter(item, hypothesis), _letter(item, item.conversation.answer)
    if right is None:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            "names none of the choices A to D and of the question's own. Write it as 'B. a dog'."
        )
    return (float(letter == right), float(letter is not None))


def _readable_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    return (float(_letter(item, hypothesis) is not None), 1.0)


def _letter(item: EvaluationItem, answer: str) -> str | None:
    question = "\n".join(turn.text for turn in item.conversation.prompt)
    return chosen_letter(strip_tags(answer), question)


CHOICE = Metric(
    "choice",
    "choice",
    higher_is_better=True,
    row=_chosen_row,
    from_totals=ratio,
    verdict=RIGHT,
    secondary=("readable",),
)
READABLE = Metric(
    "readable", "readable", higher_is_better=True, row=_readable_row, from_totals=ratio
)
