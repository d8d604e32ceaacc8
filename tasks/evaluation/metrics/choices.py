"""Multiple choice as AIR-Bench scores it (score_foundation): the letter that an answer names.

An answer without a letter is left out of the accuracy; how many have one is shown beside it.
"""

from data_contracts.records import EvaluationItem
from tasks.evaluation.metrics.metric import RIGHT, Metric, ratio
from tasks.evaluation.metrics.normalisation import strip_tags


def _chosen_row(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    """Whether the letter is right, and whether there is one."""
    letter, right = _letter(hypothesis), _letter(item.conversation.answer)
    if right is None:
        raise ValueError(
            f"item {item.conversation.id!r} has the reference {item.conversation.answer!r}, which "
            "names none of the choices A to D. Write it as 'B. a dog'."
        )
    return (float(letter == right), float(letter is not None))


def _readable_row(_: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    return (float(_letter(hypothesis) is not None), 1.0)


def _letter(answer: str) -> str | None:
    """The first character if it is a choice's, else the one before the last ("It is B.")."""
    text = strip_tags(answer).replace("\n", "")
    return next((letter for letter in (text[:1], text[-2:-1]) if letter in set("ABCD")), None)


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
