"""Answers conversations with a checkpoint and a corpus: sampling and evaluation share it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.records import Conversation
from infra.storage.store import Store
from model.checkpoints.checkpoint import check_hears, load_checkpoint
from model.generate import GenerationSettings, generate
from model.sequence import render_prompt
from model.tokenizer import END_OF_TEXT, TURN_END
from tasks.corpus.features import Waveforms, hear
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader

PROMPTS_AT_ONCE = 32
"""Conversations that are answered in one batch."""


@dataclass(frozen=True)
class Answerer:
    """Writes answers with one checkpoint to prompts about clips, such as those of a corpus."""

    model: Qwen2AudioForConditionalGeneration
    processor: Qwen2AudioProcessor
    reader: Waveforms
    """Waveforms of the clips that the prompts name."""

    @classmethod
    def open(
        cls, checkpoint: Store, corpus: Store, scratch: Path, device: str = "cpu"
    ) -> "Answerer":
        """Load a checkpoint to a device and check that it hears.

        Raises:
            ModelDeafError: its output does not depend on the audio.
        """
        with checkpoint.local_folder("", scratch) as folder:
            model, processor = load_checkpoint(folder)
        model.to(device)
        check_hears(model, processor)
        return cls(model, processor, ClipReader(corpus, CorpusIndex(corpus)))

    def hear(
        self, conversations: Sequence[Conversation]
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Make the features of the conversations' clips and count their tokens, by clip id."""
        return hear(self.reader, conversations, self.processor.feature_extractor.feature_size)

    def answer(
        self, conversations: Sequence[Conversation], settings: GenerationSettings
    ) -> Iterable[list[str]]:
        """Yield `settings.num_samples` answers for each conversation, in order."""
        tokenizer = self.processor.tokenizer
        stop_ids = frozenset(tokenizer.convert_tokens_to_ids([END_OF_TEXT, TURN_END]))
        for start in range(0, len(conversations), PROMPTS_AT_ONCE):
            some = conversations[start : start + PROMPTS_AT_ONCE]
            features, tokens = self.hear(some)
            prompts = [render_prompt(conversation, tokenizer, tokens) for conversation in some]
            names = [conversation.id for conversation in some]
            for samples in generate(self.model, prompts, features, settings, stop_ids, names):
                yield [
                    tokenizer.decode(list(sample.token_ids), skip_special_tokens=True)
                    for sample in samples
                ]
