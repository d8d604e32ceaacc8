"""An export opens in the trainers of other projects: the same loss, and answers to a batch."""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoProcessor,
    AutoTokenizer,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)

from model.batch import collate
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.forward import cross_entropy
from model.sequence import TokenSequence
from tests.support.oracle import CLIPS, CONVERSATIONS, FEATURES, padded_inputs, tokens_of

Model: TypeAlias = Qwen2AudioForConditionalGeneration
HEARD = [conversation for conversation in CONVERSATIONS if conversation.clip_ids]


@pytest.fixture
def exported(model: Model, processor: Qwen2AudioProcessor, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path, model, processor)
    return tmp_path


def rows_of(sequence: TokenSequence, audio_token: int | None) -> tuple[list[int], list[int]]:
    """Tokens and labels; a clip's tokens become the single `audio_token`, where one is given."""
    labelled = [
        (int(token), int(token) if is_label else -100)
        for token, is_label in zip(sequence.input_ids, sequence.is_label, strict=True)
    ]
    rows = []
    for token, group in groupby(labelled, key=lambda pair: pair[0]):
        pairs = list(group)
        rows += pairs[:1] if token == audio_token else pairs
    return [token for token, _ in rows], [label for _, label in rows]


def padded(rows: Sequence[list[int]], value: int) -> Tensor:
    """Right-padded, as both trainers' collators do it."""
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


@pytest.mark.parametrize("one_token", [True, False], ids=["ms-swift", "LLaMA-Factory"])
@pytest.mark.parametrize("num_rows", [1, len(HEARD)])
def test_labels_give_the_loss_that_ours_is(exported: Path, one_token: bool, num_rows: int) -> None:
    """ms-swift's template writes one audio token for a clip, LLaMA-Factory's all of them."""
    ours, processor = load_checkpoint(exported)
    sequences = [tokens_of(conversation, processor) for conversation in HEARD[-num_rows:]]
    batch = collate(sequences, FEATURES)
    expected = cross_entropy(ours, batch, 0.0) / batch.num_labels

    theirs = Qwen2AudioForConditionalGeneration.from_pretrained(exported)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    audio_token = tokenizer.convert_tokens_to_ids("<|AUDIO|>") if one_token else None
    rows = [rows_of(sequence, audio_token) for sequence in sequences]
    input_ids = padded([ids for ids, _ in rows], tokenizer.pad_token_id)
    waveforms = [CLIPS[clip] for sequence in sequences for clip in sequence.clip_ids]
    output = theirs(
        input_ids=input_ids,
        attention_mask=padded([[1] * len(ids) for ids, _ in rows], 0),
        labels=padded([labels for _, labels in rows], -100),
        **padded_inputs(waveforms, theirs.config.audio_config.num_mel_bins),
    )
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=0)
    output.loss.backward()
    assert float(theirs.model.multi_modal_projector.linear.weight.grad.abs().max()) > 0


def test_batched_answers_are_the_single_ones_without_a_warning(
    exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = AutoProcessor.from_pretrained(exported)
    theirs = Qwen2AudioForConditionalGeneration.from_pretrained(exported).eval()
    text = "<|audio_bos|><|AUDIO|><|audio_eos|>"
    prompts, clips = [f"{text}What is the sound?", f"{text}en"], [CLIPS["long"], CLIPS["odd"]]

    def answers(chosen: slice) -> list[str]:
        audio = [clip.numpy() for clip in clips[chosen]]
        inputs = processor(
            text=prompts[chosen], audio=audio, sampling_rate=16_000,
            return_tensors="pt", padding=True,
        )  # fmt: skip
        ids = theirs.generate(**inputs, max_new_tokens=6, do_sample=False)
        answered: list[str] = processor.batch_decode(ids[:, inputs.input_ids.shape[1] :])
        return answered

    with caplog.at_level(logging.WARNING, logger="transformers"):
        logging.getLogger("transformers").addHandler(caplog.handler)
        both = answers(slice(0, 2))
    assert "padding" not in caplog.text
    assert both == answers(slice(0, 1)) + answers(slice(1, 2))


def test_an_export_of_another_tools_checkpoint_has_the_keys_too(
    exported: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = exported / name
        kept = [
            line
            for line in path.read_text().splitlines(keepends=True)
            if "ignore_index" not in line and "padding_side" not in line
        ]
        path.write_text("".join(kept))
    assert not hasattr(AutoConfig.from_pretrained(exported), "ignore_index")
    save_checkpoint(tmp_path / "again", *load_checkpoint(exported))
    assert AutoConfig.from_pretrained(tmp_path / "again").ignore_index == -100
    assert AutoTokenizer.from_pretrained(tmp_path / "again").padding_side == "left"
