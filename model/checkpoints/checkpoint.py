"""Saves and loads checkpoints in transformers' layout: ours open there, theirs open here."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)
from transformers.utils import GENERATION_CONFIG_NAME

from data_contracts.records import Conversation, Turn
from model.attention import use_packed_attention
from model.audio import SAMPLE_RATE, num_audio_tokens
from model.batch import collate
from model.checkpoints.weights import (
    CheckpointError,
    read_config,
    refuse_gaps,
    refusing_config,
    tensor_files,
)
from model.features import log_mel_spectrogram
from model.forward import hidden_states
from model.sequence import render_prompt

_HEARING_THRESHOLD = 1e-5
"""Least change of a logit, relative to the largest one, that is not rounding (float32)."""

_NO_LABEL = -100
"""Target of a position without a loss, in torch's cross-entropy and all tools."""

_ATTENTION = "sdpa"
"""transformers' attention until ours takes its place, whatever `config.json` asks for."""


class ModelDeafError(RuntimeError):
    """The model's output does not depend on its audio."""


def save_checkpoint(
    directory: Path, model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor
) -> None:
    """Write `model` and `processor` into `directory`, as `from_pretrained` reads them.

    The same weights give the same bytes of `model.safetensors`. Existing files are overwritten.
    Two keys, which nothing here reads, are for other tools:

    - `ignore_index` of config.json: transformers' class reads it where labels come with one audio
      token for each clip, as from ms-swift, but has no default for it.
    - `padding_side` of the tokenizer: answers to a batch continue prompts that end together.
    """
    model.config.ignore_index = _NO_LABEL
    processor.tokenizer.padding_side = "left"
    # Of the attributes those are saved that the tokenizer was made with.
    processor.tokenizer.init_kwargs["padding_side"] = "left"
    model.save_pretrained(directory)
    processor.save_pretrained(directory)


def load_checkpoint(
    directory: Path,
) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    """Load a checkpoint in float32 and eval mode, with packed attention; nothing is downloaded.

    transformers warns of tensors that are missing or don't fit, and draws them at random; here
    they are an error. Weights are read from safetensors alone.

    Args:
        directory: a checkpoint of this package, or a snapshot of a released Qwen2-Audio.

    Raises:
        CheckpointError: `directory` holds no Qwen2-Audio checkpoint, or one whose tensors,
            configuration and processor don't fit each other.
        ValueError: the language model has a sliding window.
    """
    read_config(directory, ["qwen2_audio"])
    tensor_files(directory)
    with refusing_config(directory), torch.device("meta"):
        config = Qwen2AudioConfig.from_pretrained(directory, local_files_only=True)
        Qwen2AudioForConditionalGeneration._from_config(config, attn_implementation=_ATTENTION)
        if (directory / GENERATION_CONFIG_NAME).exists():
            GenerationConfig.from_pretrained(directory, local_files_only=True)
    model, loading = Qwen2AudioForConditionalGeneration.from_pretrained(
        directory,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation=_ATTENTION,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    wrong = [
        f"{name} ({tuple(there)}, expected {tuple(expected)})"
        for name, there, expected in loading["mismatched_keys"]
    ]
    refuse_gaps(directory, loading["missing_keys"], loading["unexpected_keys"], wrong)
    processor = _load_processor(directory, model.config)
    # The positions are fixed sinusoids, but transformers makes every loaded parameter trainable.
    model.model.audio_tower.embed_positions.requires_grad_(False)
    use_packed_attention(model)
    return model.eval(), processor


def _load_processor(directory: Path, config: Qwen2AudioConfig) -> Qwen2AudioProcessor:
    try:
        processor = Qwen2AudioProcessor.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise CheckpointError(
            f"{directory} has no processor that can be read ({error}). Copy tokenizer.json, "
            "tokenizer_config.json and the processor's files beside the weights."
        ) from error
    rows, num_tokens = config.text_config.vocab_size, len(processor.tokenizer)
    for name, theirs, ours in (
        ("the id of <|AUDIO|>", processor.audio_token_id, config.audio_token_id),
        (
            "the number of mel channels",
            processor.feature_extractor.feature_size,
            config.audio_config.num_mel_bins,
        ),
        ("the number of tokens with an embedding", num_tokens, min(num_tokens, rows)),
    ):
        if theirs != ours:
            raise CheckpointError(
                f"in {directory} {name} is {theirs} for the processor and {ours} for the model. "
                "Give the processor that belongs to the weights."
            )
    return processor


@torch.no_grad()
def check_hears(model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor) -> float:
    """Check that the model's answers to two sounds of equal length differ.

    Run it before any work on a checkpoint: a model that loses its audio trains and evaluates
    without an error.

    Returns:
        The largest change of a next-token logit, relative to the largest logit.

    Raises:
        ModelDeafError: the change is no more than rounding, or not a number.
    """
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * time)
    clicks = 0.5 * (torch.arange(SAMPLE_RATE) % 1600 < 40).float()
    first, second = (_next_token_logits(model, processor, sound) for sound in (tone, clicks))
    change = float((first - second).abs().max() / first.abs().max())
    if not change > _HEARING_THRESHOLD:
        raise ModelDeafError(
            f"exchanging a tone for clicks changed the logits by {change:.1e} of their size; more "
            f"than {_HEARING_THRESHOLD:.0e} is needed. Check that the checkpoint has the encoder's "
            "and the projector's weights and that the tokenizer's <|AUDIO|> is the model's."
        )
    return change


def _next_token_logits(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, waveform: Tensor
) -> Tensor:
    """Compute the logits [vocab_size] of the first token of an answer about one clip."""
    question = Turn(role="user", text="What is heard?", audio=("clip",))
    conversation = Conversation(id="hearing", format="chat", turns=(question,), task="sound")
    prompt = render_prompt(
        conversation, processor.tokenizer, {"clip": num_audio_tokens(len(waveform))}
    )
    num_mel_bins = model.config.audio_config.num_mel_bins
    features = {"clip": log_mel_spectrogram([waveform], num_mel_bins)[0]}
    hidden = hidden_states(model, collate([prompt], features))
    logits: Tensor = model.lm_head(hidden[-1])
    return logits
