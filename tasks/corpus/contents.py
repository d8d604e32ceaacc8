"""Number of examples that a corpus has, by split and task: what later stages can be made of."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from data_contracts.records import Conversation, PackedClip, Record, Split
from infra.storage.store import Store

CONTENTS = "corpus/contents.json"
Counts = dict[Split, dict[str, int]]
"""Split -> task -> number, in their order; what is 0 is left out."""


class CorpusContents(Record):
    """Numbers of a finished corpus: a recipe is judged by them, and nothing else is read for it."""

    completions: Counts
    """Clips that can be asked for a task in words: examples of pre-training."""
    dialogues: Counts
    """Dialogues, the users' own included: examples of fine-tuning."""
    prompts: Counts
    """Prompts to collect preferences on."""
    pairs: dict[Split, int]
    """Preference pairs that came with the data."""
    suites: dict[str, int]
    """Suite -> number of items."""


def count_clips(
    clips: Iterable[PackedClip], in_words: Collection[str]
) -> tuple[Counts, dict[Split, int]]:
    """Count the clips of each task, and those with a worse answer.

    Args:
        in_words: tasks that have a prompt. A clip with a spoken command is asked by voice alone.
    """
    asked: Counter[tuple[Split, str]] = Counter()
    pairs: Counter[Split] = Counter()
    for clip in clips:
        if clip.kind != "command":
            asked.update((clip.split, task) for task in clip.targets if task in in_words)
        if clip.rejected is not None:
            pairs[clip.split] += 1
    return _by_split(asked), dict(sorted(pairs.items()))


def count_conversations(conversations: Iterable[Conversation]) -> Counts:
    """Count dialogues or prompts."""
    return _by_split(Counter((each.split, each.task) for each in conversations))


def read_contents(corpus: Store) -> CorpusContents:
    """Read the numbers of a finished corpus."""
    return CorpusContents.model_validate_json(corpus.read_bytes(CONTENTS))


def absent_tasks(weights: Mapping[str, float], there: Collection[str]) -> str | None:
    """Say which tasks have a weight and no example; None where all have one.

    Args:
        there: tasks that have training examples.
    """
    if absent := sorted(task for task, weight in weights.items() if weight and task not in there):
        return (
            f"the mixture weighs {absent}, of which the corpus has no training example; it has "
            f"{sorted(there)}. Leave them out or give them weight 0, add recordings of them, or "
            "leave out all weights, which takes what there is."
        )
    return None


def _by_split(counts: Counter[tuple[Split, str]]) -> Counts:
    by_split: Counts = {}
    for (split, task), number in sorted(counts.items()):
        by_split.setdefault(split, {})[task] = number
    return by_split
