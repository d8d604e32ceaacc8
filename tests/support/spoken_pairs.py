"""Preference pairs over a small corpus, and their log-probabilities by transformers' forward."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.answer_records import PreferencePair
from data_contracts.jsonl import to_jsonl
from data_contracts.records import Clip, Conversation, Turn
from infra.storage.store import Store
from model.audio import num_audio_tokens
from model.augment import AugmentRecipe
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.checkpoints.construct import build_model
from model.sequence import render_answer, render_prompt
from model.tokenizer import build_processor, train_tokenizer
from tasks.corpus.index import CorpusIndex
from tasks.corpus.pairs import PAIRS
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import MadeClip, write_index, write_shard
from tests.support.oracle import RECIPE, TEXTS, padded_inputs
from tests.support.recordings import noise

UNCHANGED = AugmentRecipe(
    time_stretch=(1, 1), mel_shift=0, noise_std=0, num_time_masks=0, num_mel_masks=0
)
"""No augmentation: features are what the recording gives."""
SECONDS = {"short": 0.3, "middle": 0.7, "long": 1.1}
"""Clips of the corpus; each lies in a shard of its own."""


def write_corpus(directory: Store) -> Store:
    rows = []
    for number, (name, seconds) in enumerate(SECONDS.items()):
        clip = Clip(id=name, audio="-", targets={"asr": name})
        made = MadeClip(clip, noise(seconds, number), 0.0, (name,))
        rows += write_shard(directory, number, [made])
    write_index(directory, rows)
    return directory


def pair_of(
    name: str, clips: tuple[str, ...], chosen: str, rejected: str, split: str = "train"
) -> PreferencePair:
    turn = Turn(role="user", text="What is the sound?", audio=clips)
    prompt = Conversation(id=f"prompt of {name}", format="chat", turns=(turn,), task="sound")
    return PreferencePair.model_validate(
        {"id": name, "prompt": prompt, "chosen": chosen, "rejected": rejected, "chosen_score": 1,
         "rejected_score": 0, "ranker": "r", "split": split}
    )  # fmt: skip


PAIRS_OF_TEXTS = (
    pair_of("a", ("short",), "A dog barks.", "rain"),
    pair_of("b", ("long", "short"), "rain falls", "What is the sound? A dog."),
    pair_of("c", (), "You are a helpful assistant.", "und 40"),
    pair_of("d", ("middle",), "1 2 3", "the lazy dog jumps"),
)


@dataclass(frozen=True)
class SpokenPairs:
    """What a DPO stage is given."""

    corpus: Store
    checkpoint: Store
    """Artifact of the stage before."""
    model: Qwen2AudioForConditionalGeneration
    processor: Qwen2AudioProcessor

    @classmethod
    def make(cls, folder: Path) -> "SpokenPairs":
        """Write the corpus, and a model with every weight random."""
        processor = build_processor(
            train_tokenizer(TEXTS, RECIPE.vocab_size, ["en", "de"]), RECIPE.num_mel_bins
        )
        built = build_model(RECIPE, processor.tokenizer)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
        save_checkpoint(folder / "sft/checkpoint", built, processor)
        model, processor = load_checkpoint(folder / "sft/checkpoint")
        corpus = write_corpus(Store(str(folder / "corpus")))
        return cls(corpus, Store(str(folder / "sft")), model, processor)

    @property
    def reader(self) -> ClipReader:
        return ClipReader(self.corpus, CorpusIndex(self.corpus))

    def log_prob(self, pair: PreferencePair, answer: str) -> float:
        """log P(answer | prompt), summed over its tokens and its end, in nats."""
        reader = self.reader
        waveforms = [torch.from_numpy(np.array(reader[clip])) for clip in pair.prompt.clip_ids]
        tokens = {
            clip: num_audio_tokens(len(waveform))
            for clip, waveform in zip(pair.prompt.clip_ids, waveforms, strict=True)
        }
        prompt = render_prompt(pair.prompt, self.processor.tokenizer, tokens).input_ids.tolist()
        ids = render_answer(answer, pair.prompt, self.processor.tokenizer)
        audio = padded_inputs(waveforms, RECIPE.num_mel_bins) if waveforms else {}
        input_ids = torch.tensor([[*prompt, *ids]])
        with torch.no_grad():
            logits = self.model(
                input_ids=input_ids, attention_mask=torch.ones_like(input_ids), **audio
            ).logits[0, len(prompt) - 1 : -1]
        return float(logits.log_softmax(-1)[range(len(ids)), list(ids)].sum())

    def scores(self, pairs: Sequence[PreferencePair]) -> dict[str, tuple[float, float]]:
        """Log-probabilities of the chosen and of the rejected answer of each pair."""
        return {
            pair.id: (self.log_prob(pair, pair.chosen), self.log_prob(pair, pair.rejected))
            for pair in pairs
        }


def write_pairs(directory: Store, pairs: Sequence[PreferencePair]) -> Store:
    directory.write_text(PAIRS, to_jsonl(pairs))
    return directory
