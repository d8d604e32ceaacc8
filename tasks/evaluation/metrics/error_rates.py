"""Error rates of transcripts: edits over the length of the reference, in words or characters."""

import jiwer

from data_contracts.answer_records import EvaluationItem
from tasks.evaluation.metrics.metric import Metric, ratio
from tasks.evaluation.metrics.normalisation import normalise_transcript


def _word_edits(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    reference = normalise_transcript(item, item.conversation.answer)
    return _edits(reference, normalise_transcript(item, hypothesis))


def _character_edits(item: EvaluationItem, hypothesis: str) -> tuple[float, ...]:
    pair = (item.conversation.answer, hypothesis)
    characters = [normalise_transcript(item, text).replace(" ", "") for text in pair]
    return _edits(*(" ".join(text) for text in characters))


def _edits(reference: str, hypothesis: str) -> tuple[float, float]:
    """Edits and length of the reference, in units that are separated by spaces."""
    counts = jiwer.process_words(reference, hypothesis)
    return (
        float(counts.substitutions + counts.deletions + counts.insertions),
        float(len(reference.split())),
    )


WER = Metric("wer", "WER", higher_is_better=False, row=_word_edits, from_totals=ratio)
CER = Metric("cer", "CER", higher_is_better=False, row=_character_edits, from_totals=ratio)
