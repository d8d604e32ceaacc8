"""Rows 2 and 3: the audio encoder over packed clips, against 30 s for every clip."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from transformers.masking_utils import create_bidirectional_mask

from benchmarks.harness import Condition, Row, race
from benchmarks.workload import (
    WHISPER_BASE,
    WHISPER_TINY,
    Model,
    build,
    clips,
    gradient_error,
    padded_features,
    train,
)
from model.audio import MAX_POSITIONS, num_audio_tokens, num_mel_frames, num_positions
from model.costs.flops import encoder_flops, padded_encoder_flops
from model.encoder import encode_audio
from model.features import log_mel_spectrogram

_CLIPS = 4
_NO_TEXT = {"num_hidden_layers": 0, "vocab_size": 64}


def encoder() -> Iterator[Row]:
    """Forward of towers as large as Whisper tiny and base; backward too of the smaller one."""
    tiny = _Work(WHISPER_TINY)
    yield tiny.forward("encoder forward, Whisper tiny")
    yield _Work(WHISPER_BASE).forward("encoder forward, Whisper base")
    yield tiny.backward("encoder forward and backward")


class _Work:
    """One tower and the clips that it encodes."""

    def __init__(self, audio: Mapping[str, int]) -> None:
        width = audio["d_model"]
        self._work = f"{_CLIPS} clips, {audio['encoder_layers']} layers of {width}"
        self._models = build(audio, _NO_TEXT | {"hidden_size": width, "intermediate_size": width})
        waveforms = clips(_CLIPS)
        self._features = log_mel_spectrogram(waveforms, audio["num_mel_bins"])
        self._padded = padded_features(waveforms, audio["num_mel_bins"])
        tokens = torch.tensor([[num_audio_tokens(len(waveform))] for waveform in waveforms])
        self._valid = torch.arange(MAX_POSITIONS // 2) < tokens
        positions = [num_positions(num_mel_frames(len(waveform))) for waveform in waveforms]
        self._flops = encoder_flops(self._models.ours.config, positions)
        self._padded_flops = padded_encoder_flops(self._models.ours.config, _CLIPS)

    def forward(self, name: str) -> Row:
        """The goal is what trimming the padding saves."""
        ratio = self._padded_flops.forward / self._flops.forward
        with torch.no_grad():
            error = float((self._encode() - self._encode_padded()).abs().max())
            return Row(
                name=name,
                work=self._work,
                race=race(self._encode, self._encode_padded),
                goal=ratio,
                stretch=1.2 * ratio,
                conditions=(Condition("tokens", error, "<=", 1e-5),),
            )

    def backward(self, name: str) -> Row:
        """Gradients of every weight of the tower and the projector."""

        def loss() -> Tensor:
            return self._encode().square().mean()

        def padded_loss() -> Tensor:
            return self._encode_padded().square().mean()

        ratio = self._padded_flops.trained / self._flops.trained
        error = gradient_error(self._models, loss, padded_loss)
        return Row(
            name=name,
            work=self._work,
            race=race(train(self._models.ours, loss), train(self._models.reference, padded_loss)),
            goal=0.95 * ratio,
            stretch=1.1 * ratio,
            conditions=(Condition("gradients", error, "<=", 1e-5),),
        )

    def _encode(self) -> Tensor:
        return encode_audio(self._models.ours, self._features)[0]

    def _encode_padded(self) -> Tensor:
        return _reference_tokens(self._models.reference, self._padded)[self._valid]


def _reference_tokens(model: Model, padded: Mapping[str, Tensor]) -> Tensor:
    """As `Qwen2AudioModel.forward` makes them: [clips, 750, hidden_size]."""
    tower = model.model.audio_tower
    lengths, _ = tower._get_feat_extract_output_lengths(padded["feature_attention_mask"].sum(-1))
    attended = (torch.arange(MAX_POSITIONS) < lengths[:, None]).long()
    mask = create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=torch.zeros(*attended.shape, 1),
        attention_mask=attended,
    )
    hidden = tower(padded["input_features"], attention_mask=mask).last_hidden_state
    tokens: Tensor = model.model.multi_modal_projector(hidden)
    return tokens
