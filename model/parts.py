"""The three parts of a Qwen2-Audio model, distinguished by the names of their parameters."""

from typing import Literal

Part = Literal["audio_encoder", "projector", "language_model"]

_PREFIXES: dict[str, Part] = {
    "model.audio_tower.": "audio_encoder",
    "model.multi_modal_projector.": "projector",
}
"""Prefixes of names; all other parameters belong to the language model, its head included."""


def part_of(name: str) -> Part:
    """Return the part that the parameter `name` of a Qwen2-Audio model belongs to."""
    return next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)),
                "language_model")  # fmt: skip
