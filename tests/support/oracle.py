"""What the tests of `model` compare with: transformers' own pipeline, and made-up inputs."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)
from transformers.masking_utils import create_bidirectional_mask

from data_contracts.records import Conversation, Turn
from model.audio import (
    MAX_MEL_FRAMES,
    num_audio_tokens,
    num_feature_frames,
    num_mel_frames,
    num_positions,
)
from model.checkpoints.construct import ModelRecipe
from model.features import log_mel_spectrogram
from model.sequence import TokenSequence, render, render_prompt

RECIPE = ModelRecipe(
    num_mel_bins=80,
    audio_layers=2,
    audio_width=32,
    audio_heads=2,
    audio_ffn=64,
    text_layers=2,
    text_width=32,
    text_heads=4,
    text_kv_heads=2,
    text_ffn=48,
    vocab_size=400,
)
TEXTS = [
    "Detect the language and recognize the speech: the quick brown fox jumps over the lazy dog",
    "What is the sound? A dog barks while rain falls. You are a helpful assistant.",
    "user assistant system Audio 1: zählen wir 1 2 3 und 40",
] * 3


def make_waveform(num_samples: int, seed: int) -> Tensor:
    """Noise whose loudness wanders, so that frames differ."""
    random = np.random.default_rng(seed)
    wander = np.repeat(random.uniform(0.01, 0.6, num_samples // 800 + 1), 800)[:num_samples]
    samples: NDArray[np.float64] = random.normal(size=num_samples) * wander
    return torch.from_numpy(samples.astype(np.float32))


CLIPS = {
    "shortest": make_waveform(321, seed=1),
    "odd": make_waveform(160 * 73 + 5, seed=2),
    "even": make_waveform(160 * 100, seed=3),
    "even too": make_waveform(160 * 100, seed=4),
    "long": make_waveform(40_000, seed=5),
}
FEATURES = dict(
    zip(CLIPS, log_mel_spectrogram(list(CLIPS.values()), RECIPE.num_mel_bins), strict=True)
)
TOKENS_PER_CLIP = {clip: num_audio_tokens(len(waveform)) for clip, waveform in CLIPS.items()}


def chat(name: str, *turns: tuple[str, str, tuple[str, ...]]) -> Conversation:
    """A chat from (role, text, clips)."""
    made = tuple(Turn(role=r, text=t, audio=a) for r, t, a in turns)
    return Conversation(id=name, format="chat", turns=made, task="test")


def completion(name: str, clips: tuple[str, ...], prompt: str, answer: str) -> Conversation:
    """The pre-training form."""
    turns = (Turn(role="user", text=prompt, audio=clips), Turn(role="assistant", text=answer))
    return Conversation(id=name, format="completion", turns=turns, task="asr")


CONVERSATIONS = [
    completion("asr", ("odd",), "recognize the speech: <|en|>", "the lazy dog"),
    completion("two clips", ("even", "shortest"), "What is the sound?", "rain, then a dog"),
    chat("text", ("user", "What is 1 2 3?", ()), ("assistant", "und 40", ())),
    chat(
        "turns",
        ("system", "Be brief.", ()),
        ("user", "", ("even",)),
        ("assistant", "A dog.", ()),
        ("user", "And this, or that?", ("long", "even too")),
        ("assistant", "Rain falls.", ()),
    ),
    chat("voice", ("user", "", ("odd",)), ("assistant", "The quick brown fox.", ())),
]


def tokens_of(conversation: Conversation, processor: Qwen2AudioProcessor) -> TokenSequence:
    return render(conversation, processor.tokenizer, TOKENS_PER_CLIP)


def prompt_of(conversation: Conversation, processor: Qwen2AudioProcessor) -> TokenSequence:
    return render_prompt(conversation, processor.tokenizer, TOKENS_PER_CLIP)


def reference_features(waveform: Tensor, num_mel_bins: int) -> Tensor:
    """The reference's padded log-mel, cut to our frames; zeros where its convolution pads."""
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    padded = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    frames = num_feature_frames(len(waveform))
    features = torch.zeros(num_mel_bins, frames)
    kept = min(frames, MAX_MEL_FRAMES)
    features[:, :kept] = padded.input_features[0][:, :kept]
    return features


def padded_inputs(waveforms: Sequence[Tensor], num_mel_bins: int) -> Mapping[str, Tensor]:
    """`input_features` and `feature_attention_mask` as the reference's processor makes them."""
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    inputs = extractor(
        [waveform.numpy() for waveform in waveforms],
        sampling_rate=16_000,
        return_attention_mask=True,
        return_tensors="pt",
    )
    lengths = [num_mel_frames(len(waveform)) for waveform in waveforms]
    assert inputs.attention_mask.sum(1).tolist() == lengths
    return {
        "input_features": inputs.input_features,
        "feature_attention_mask": inputs.attention_mask,
    }


def reference_tokens(
    model: Qwen2AudioForConditionalGeneration, waveforms: list[Tensor]
) -> list[Tensor]:
    """As `Qwen2AudioModel.forward` does it: mask of L1 positions, L1 // 2 tokens kept."""
    tower = model.model.audio_tower
    inputs = padded_inputs(waveforms, tower.num_mel_bins)
    lengths = [num_mel_frames(len(waveform)) for waveform in waveforms]
    attended = torch.zeros(len(waveforms), 1500, dtype=torch.long)
    for row, length in zip(attended, lengths, strict=True):
        row[: num_positions(length)] = 1
    mask = create_bidirectional_mask(
        config=tower.config, inputs_embeds=torch.zeros(*attended.shape, 1), attention_mask=attended
    )
    hidden = tower(inputs["input_features"], attention_mask=mask).last_hidden_state
    tokens = model.model.multi_modal_projector(hidden)
    return [
        row[: num_audio_tokens(len(waveform))]
        for row, waveform in zip(tokens, waveforms, strict=True)
    ]


def reference_logits(model: Qwen2AudioForConditionalGeneration, sequence: TokenSequence) -> Tensor:
    """transformers' forward over one sequence, [T, vocab_size]."""
    audio: Mapping[str, Tensor] = {}
    if sequence.clip_ids:
        waveforms = [CLIPS[clip] for clip in sequence.clip_ids]
        audio = padded_inputs(waveforms, model.config.audio_config.num_mel_bins)
    input_ids = torch.from_numpy(sequence.input_ids)[None]
    logits: Tensor = model(
        input_ids=input_ids, attention_mask=torch.ones_like(input_ids), **audio
    ).logits[0]
    return logits
