"""Checks that an exported checkpoint equals the trained model, in transformers too.

Label probabilities of a few synthetic conversations are compared three ways: from the model in
memory with the packed forward, from the export with the packed forward, and from the export with
transformers' own classes, with their padding, masks, features and chat template.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.records import Conversation, Turn
from model.audio import MIN_SAMPLES, SAMPLE_RATE, num_audio_tokens
from model.batch import Batch, collate
from model.checkpoints.checkpoint import load_checkpoint
from model.features import log_mel_spectrogram
from model.forward import label_log_probs
from model.sequence import TokenSequence, render
from model.tokenizer import AUDIO, AUDIO_END, AUDIO_START, END_OF_TEXT

_BOUND = 1e-4
"""Largest difference that passes, as a part of the largest logit. float32 rounds each step to
6e-8, and other orders of summation added up to 5e-7 in models of 0.1 to 330 million parameters,
so depth and a GPU's kernels have room; one element of a norm's weights off by 1 % made 1.6e-4."""
_CLIPS = {"shortest": MIN_SAMPLES, "odd": 11_685, "even": 16_000, "long": 40_000}
"""Samples of the made-up recordings: one token; 37, 50 and 125 positions, two of them odd."""


class ParityError(RuntimeError):
    """An export gives other results than the model that it was made from."""


@dataclass(frozen=True)
class Parity:
    """Differences between log-probabilities of labels, in nats."""

    num_labels: int
    largest_logit: float
    """Of the export in transformers, over all labels and the whole vocabulary."""
    to_reference: float
    """Largest difference between the model, packed, and its export in transformers."""
    to_reloaded: float
    """Largest difference between the model and its export, both packed."""

    @property
    def relative(self) -> float:
        """Larger difference, relative to the largest logit; NaN if one is NaN."""
        differences = torch.tensor([self.to_reference, self.to_reloaded], dtype=torch.float64)
        return float(differences.max() / self.largest_logit)


@torch.no_grad()
def measure_parity(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, exported: Path
) -> Parity:
    """Compare `model` with its export; at most one copy of it is loaded beside it at a time.

    Args:
        model: float32, in eval mode, with `attention.use_packed_attention` applied.
        exported: folder that `checkpoint.save_checkpoint` wrote.

    Raises:
        ParityError: log-probabilities differ by more than rounding or are not numbers, or the
            export's processor makes other tokens.
        CheckpointError: the export can't be loaded.
        ValueError: the model is in training mode or has another type.
    """
    if model.training or model.dtype != torch.float32:
        raise ValueError(
            f"the model holds {model.dtype} and training is {model.training}; parity is measured "
            "in float32 and eval mode. Open the checkpoint with load_checkpoint and measure that."
        )
    waveforms = _waveforms()
    num_mel_bins = model.config.audio_config.num_mel_bins
    features = dict(
        zip(waveforms, log_mel_spectrogram(list(waveforms.values()), num_mel_bins), strict=True)
    )
    counts = {clip: num_audio_tokens(len(waveform)) for clip, waveform in waveforms.items()}
    sequences = [render(c, processor.tokenizer, counts) for c in _CONVERSATIONS]
    batch = collate(sequences, features)
    with _whole_float32():
        ours = label_log_probs(model, batch).log_probs.cpu()
        reloaded = _reloaded_log_probs(exported, batch, model.device)
        reference, largest = _reference_log_probs(exported, sequences, waveforms, model.device)
    parity = Parity(
        num_labels=len(ours),
        largest_logit=largest,
        to_reference=float((ours - reference).abs().max()),
        to_reloaded=float((ours - reloaded).abs().max()),
    )
    if not parity.relative <= _BOUND:
        raise ParityError(
            f"log-probabilities of {exported} differ from the model's by {parity.to_reference:.1e} "
            f"in transformers and {parity.to_reloaded:.1e} packed, where the largest logit is "
            f"{largest:.1f}; at most {_BOUND:.0e} of that is rounding. Don't publish the export: "
            "write it again, and if that doesn't help look for a change of the forward pass."
        )
    return parity


def _reloaded_log_probs(exported: Path, batch: Batch, device: torch.device) -> Tensor:
    model, _ = load_checkpoint(exported)
    return label_log_probs(model.to(device), batch).log_probs.cpu()


def _reference_log_probs(
    exported: Path,
    sequences: Sequence[TokenSequence],
    waveforms: Mapping[str, Tensor],
    device: torch.device,
) -> tuple[Tensor, float]:
    """Log-probability of every label in transformers, and the largest logit."""
    processor = Qwen2AudioProcessor.from_pretrained(exported, local_files_only=True)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(
        exported, dtype=torch.float32, local_files_only=True
    ).to(device)
    log_probs, largest = [], []
    for conversation, sequence in zip(_CONVERSATIONS, sequences, strict=True):
        inputs = processor(
            text=_reference_text(conversation, processor),
            audio=[waveforms[clip].numpy() for clip in conversation.clip_ids] or None,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
        )
        input_ids = torch.from_numpy(sequence.input_ids)
        if not torch.equal(inputs.input_ids[0], input_ids):
            raise ParityError(
                f"the processor in {exported} reads the conversation {conversation.id!r} as "
                f"{inputs.input_ids.shape[1]} other tokens than the model's {len(input_ids)}. "
                "Export the processor that the model was trained with."
            )
        targets = torch.from_numpy(sequence.is_label.nonzero()[0])
        logits = model(**inputs.to(device)).logits[0, targets - 1].float().cpu()
        log_probs.append(logits.log_softmax(-1).gather(1, input_ids[targets][:, None])[:, 0])
        largest.append(logits.abs().max())
    return torch.cat(log_probs), float(torch.stack(largest).max())


def _reference_text(conversation: Conversation, processor: Qwen2AudioProcessor) -> str:
    """The conversation as a user of the export would write it."""
    if conversation.format == "completion":
        question, answer = conversation.turns
        clips = f"{AUDIO_START}{AUDIO}{AUDIO_END}" * len(question.audio)
        return clips + question.text + answer.text + END_OF_TEXT
    messages = [
        {
            "role": turn.role,
            "content": [
                *({"type": "audio", "audio_url": clip} for clip in turn.audio),
                {"type": "text", "text": turn.text},
            ],
        }
        for turn in conversation.turns
    ]
    text: str = processor.apply_chat_template(messages, tokenize=False)
    return text


def _waveforms() -> dict[str, Tensor]:
    """Noise of falling loudness, so that all frames differ: float32, 16 kHz."""
    generator = torch.Generator().manual_seed(0)
    return {
        clip: torch.linspace(0.5, 0.05, count) * torch.randn(count, generator=generator)
        for clip, count in _CLIPS.items()
    }


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Multiply with all bits of float32: a GPU's TF32 keeps 10 and would hide differences."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


def _chat(name: str, *turns: Turn) -> Conversation:
    return Conversation(id=name, format="chat", turns=turns, task="voice_chat")


_RAIN = Turn(role="assistant", text="Rain, and 2 dogs.")
_CONVERSATIONS = (
    _chat(
        "text alone", Turn(role="user", text="What is 20 + 4?"), Turn(role="assistant", text="24")
    ),
    _chat("one clip", Turn(role="user", audio=("odd",)), _RAIN),
    _chat(
        "several clips and turns",
        Turn(role="system", text="Be brief."),
        Turn(role="user", text="What is this?", audio=("even", "shortest")),
        _RAIN,
        Turn(role="user", text="And this, or that?", audio=("long", "odd")),
        Turn(role="assistant", text="Größer: a bell"),
    ),
    Conversation(
        id="completion",
        format="completion",
        turns=(
            Turn(
                role="user",
                text="Detect the language and recognize the speech: <|en|>",
                audio=("long",),
            ),
            Turn(role="assistant", text="the quick brown fox"),
        ),
        task="asr",
    ),
)
