"""Interface of early evaluation: training asks for a report now and then, and shows it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor


@dataclass(frozen=True)
class HeldOutReport:
    """How a model that is still in training answers examples that it does not practise."""

    loss: float
    """Mean cross-entropy of the answers' tokens, in nats."""
    rows: Sequence[Mapping[str, str]]
    """One row for each example: its id, the last question, the reference, the greedy answer."""


Examiner = Callable[[Qwen2AudioForConditionalGeneration], HeldOutReport]
ExaminerFactory = Callable[[Qwen2AudioProcessor], Examiner | None]
"""Called on each worker; it must pickle. None: there is nothing to ask."""
