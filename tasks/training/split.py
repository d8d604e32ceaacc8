"""Divides a step among the workers, and each share into micro-batches.

It is a pure function of the step's examples and their loads, so that every worker computes the
whole split by itself, and a run that continues on another number of workers splits the same steps
anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Load:
    """How much an example asks of the network."""

    tokens: int
    """Positions in the language model's row, those of its audio included."""
    audio_tokens: int
    """Those of them that the encoder makes; 0 for text alone."""

    @property
    def work(self) -> int:
        """Estimate the time that it takes, in positions: an audio token costs about two.

        The language model computes one position for each token. The encoder computes two for an
        audio token, in a network that is smaller: 0.2 of a position of the language model with
        Qwen2-Audio's towers, 0.3 with Whisper-base and SmolLM2-135M, more where both are tiny.
        One is between these; since longer audio has more of both, it matters little.
        """
        return self.tokens + self.audio_tokens


class SplitError(ValueError):
    """The examples of a step can't be given to the workers under the token budget."""


@dataclass
class _MicroBatch:
    work: int = 0
    tokens: int = 0
    examples: list[int] = field(default_factory=list)


def split(
    examples: Sequence[int], loads: Sequence[Load], num_workers: int, max_tokens: int
) -> list[list[list[int]]]:
    """Divide a step: share -> its micro-batches -> the numbers of their examples.

    Every share gets equally many micro-batches, as few as the budget allows. All are about equally
    much work, and those that are computed at the same time are most alike. Every micro-batch has
    audio where there are as many examples with audio as micro-batches; one of text alone hears a
    moment of silence (`model/forward.py`), so that no worker waits in vain for its gradient. The
    order of `examples` plays no part. Less than one a share are empty: where there are too few
    examples, or such long ones that each needs a micro-batch of its own.

    Args:
        examples: their numbers; one may be there twice.
        loads: the load of each of them.
        num_workers: how many shares there are.
        max_tokens: most tokens of a micro-batch.

    Raises:
        SplitError: an example is above the budget.
    """
    for example, load in zip(examples, loads, strict=True):
        if load.tokens > max_tokens:
            raise SplitError(
                f"example {example} has {load.tokens} tokens, a micro-batch may have {max_tokens}. "
                "Raise resources.max_tokens_per_micro_batch, or leave such long examples out."
            )
    # Longest first, and audio before text, so that no micro-batch gets its second example with
    # audio before all have one.
    ordered = sorted(
        zip(loads, examples, strict=True),
        key=lambda pair: (pair[0].audio_tokens == 0, -pair[0].work, pair[1]),
    )
    total = sum(load.tokens for load in loads)
    fewest = max(1, -(-total // (num_workers * max_tokens)))
    one_each = -(-len(examples) // num_workers)
    counts = (count * num_workers for count in range(fewest, one_each + 1))
    filled = (_fill(ordered, count, max_tokens) for count in counts)
    return _deal(next(batches for batches in filled if batches is not None), num_workers)


def _fill(
    ordered: Sequence[tuple[Load, int]], count: int, max_tokens: int
) -> list[_MicroBatch] | None:
    """Put each example into the micro-batch with the least work that has room; None: none has."""
    batches = [_MicroBatch() for _ in range(count)]
    for load, example in ordered:
        roomy = [batch for batch in batches if batch.tokens + load.tokens <= max_tokens]
        if not roomy:
            return None
        # An empty one first, even where an example is no work at all.
        least = min(roomy, key=lambda batch: (bool(batch.examples), batch.work))
        least.work += load.work
        least.tokens += load.tokens
        least.examples.append(example)
    return batches


def _deal(batches: list[_MicroBatch], num_workers: int) -> list[list[list[int]]]:
    """Deal the longest to all ranks first, back and forth, so that their sums are alike too."""
    ordered = sorted(batches, key=lambda batch: (-batch.work, batch.examples))
    ranks: list[list[list[int]]] = [[] for _ in range(num_workers)]
    for turn, start in enumerate(range(0, len(ordered), num_workers)):
        row = ordered[start : start + num_workers]
        for rank, batch in zip(ranks, row[::-1] if turn % 2 else row, strict=True):
            rank.append(batch.examples)
    return ranks
