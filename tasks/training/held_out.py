"""What training knows of early evaluation: it asks now and then, and shows what it is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor


@dataclass(frozen=True)
class HeldOutReport:
    """How a model that is still in training does on examples that it does not practise."""

    loss: float
    """Mean cross-entropy of the answers' tokens, in nats."""
    rows: Sequence[Mapping[str, str]]
    """One an example: its id, the last question, the reference, the greedy answer."""


Examiner = Callable[[Qwen2AudioForConditionalGeneration], HeldOutReport]
ExaminerFactory = Callable[[Qwen2AudioProcessor], Examiner | None]
"""Called on each worker; it must pickle. None: there is nothing to ask."""
