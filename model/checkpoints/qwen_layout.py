"""Translates the layout of first-generation Qwen (Qwen-7B, in Qwen-Audio) to that of Qwen2.

Both compute the same function: RMS norms before attention and feed-forward block, rotary positions
over whole heads in two halves, biases on query, key and value alone, silu-gated feed-forward
blocks. What differs is how the parameters are named and stacked. Qwen's dynamic NTK scaling and
log-n attention change positions beyond `seq_length` only; Qwen2 has neither, so sequences must
stay within `max_position_embeddings`.
"""

from collections.abc import Mapping
from typing import Any

from transformers import Qwen2Config

NOT_WEIGHTS = r"rotary_emb\.inv_freq$|\.attn\.(bias|masked_bias|logn_tensor)$"
"""Buffers that some of these checkpoints also hold; all follow from the configuration."""
_FIXED: Mapping[str, object] = {"no_bias": True, "rotary_pct": 1.0, "scale_attn_weights": True}
"""Options of the layout's configuration that are fixed in Qwen2, with Qwen2's values."""


def qwen2_config(config: Mapping[str, Any]) -> Qwen2Config:
    """Translate a configuration to Qwen2's for the same network.

    Args:
        config: Qwen-7B's `config.json`. Its `intermediate_size` counts both branches of the gated
            block, twice Qwen2's.

    Raises:
        ValueError: an option has a value that Qwen2 can't express.
        KeyError: a required size is missing.
    """
    for name, value in _FIXED.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]}; only {value} has a Qwen2 counterpart")
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("kv_channels", width // heads)
    if head_dim * heads != width:
        raise ValueError(
            f"kv_channels is {head_dim} with {heads} heads; together they must make the "
            f"hidden_size {width}"
        )
    return Qwen2Config(
        vocab_size=config["vocab_size"],
        hidden_size=width,
        intermediate_size=config["intermediate_size"] // 2,
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        rms_norm_eps=config["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": config["rotary_emb_base"]},
        max_position_embeddings=config["seq_length"],
        tie_word_embeddings=config.get("tie_word_embeddings", False),
    )


def qwen2_names(num_layers: int) -> dict[str, tuple[str, ...]]:
    """Names of the tensors of `Qwen2ForCausalLM` in each tensor of the layout.

    `attn.c_attn` stacks query, key and value along the first axis. The block is
    c_proj(w1(x) * silu(w2(x))), so w2 is the gate.

    Source: `QWenBlock`, `QWenAttention` and `QWenMLP` of the published modeling_qwen.py.
    """
    names: dict[str, tuple[str, ...]] = {
        "transformer.wte.weight": ("model.embed_tokens.weight",),
        "transformer.ln_f.weight": ("model.norm.weight",),
        "lm_head.weight": ("lm_head.weight",),
    }
    for number in range(num_layers):
        old, new = f"transformer.h.{number}", f"model.layers.{number}"
        for kind in ("weight", "bias"):
            stacked = tuple(f"{new}.self_attn.{x}_proj.{kind}" for x in "qkv")
            names[f"{old}.attn.c_attn.{kind}"] = stacked
        for theirs, ours in (
            ("ln_1", "input_layernorm"),
            ("attn.c_proj", "self_attn.o_proj"),
            ("ln_2", "post_attention_layernorm"),
            ("mlp.w1", "mlp.up_proj"),
            ("mlp.w2", "mlp.gate_proj"),
            ("mlp.c_proj", "mlp.down_proj"),
        ):
            names[f"{old}.{theirs}.weight"] = (f"{new}.{ours}.weight",)
    return names
