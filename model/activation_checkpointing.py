"""Activation checkpointing: a layer's activations are recomputed in the backward pass, not kept."""

from transformers import Qwen2AudioForConditionalGeneration


def checkpoint_activations(model: Qwen2AudioForConditionalGeneration) -> None:
    """Keep only the inputs of the layers of both towers, in place; no bit of a gradient changes.

    `flops.checkpointing_flops` counts what this costs.
    """
    model.activation_checkpointing_enable()
    # transformers lets the embeddings ask for gradients, which its reentrant kind needs; it would
    # make frozen layers below the first trained one compute some.
    model.disable_input_require_grads()
