"""First-generation Qwen computes what its Qwen2 counterpart computes: shown by its own formulas."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

from model.checkpoints.assemble import assemble
from model.checkpoints.checkpoint import check_hears
from model.checkpoints.qwen_layout import qwen2_config, qwen2_names
from model.checkpoints.towers import read_language_model
from model.checkpoints.weights import CheckpointError
from tests.support.small_checkpoints import RANKS, random_model, write_ranks, write_whisper

HEADS, HEAD_DIM, WIDTH, FFN, LAYERS = 4, 8, 32, 48, 2
ROWS = 480
"""Five more than its tokenizer's tokens."""
EPSILON, BASE = 1e-5, 5000
CONFIG: dict[str, Any] = {
    "model_type": "qwen",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "kv_channels": HEAD_DIM,
    "intermediate_size": 2 * FFN,
    "layer_norm_epsilon": EPSILON,
    "rotary_emb_base": BASE,
    "rotary_pct": 1.0,
    "seq_length": 128,
    "vocab_size": ROWS,
    "no_bias": True,
    "scale_attn_weights": True,
    "tie_word_embeddings": False,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
}
IDS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 53, 58, 89, 7])


@pytest.fixture
def twin() -> Qwen2ForCausalLM:
    """The network as a Qwen2."""
    config = Qwen2Config(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": BASE},
    )
    return random_model(Qwen2ForCausalLM, config, seed=5)


@pytest.fixture
def qwen(twin: Qwen2ForCausalLM) -> dict[str, Tensor]:
    """The same network in the old layout."""
    tensors = {
        "transformer.wte.weight": twin.model.embed_tokens.weight,
        "transformer.ln_f.weight": twin.model.norm.weight,
        "lm_head.weight": twin.lm_head.weight,
    }
    for number, layer in enumerate(twin.model.layers):
        attention, block = layer.self_attn, f"transformer.h.{number}"
        qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
        tensors |= {
            f"{block}.ln_1.weight": layer.input_layernorm.weight,
            f"{block}.attn.c_attn.weight": torch.cat([linear.weight for linear in qkv]),
            f"{block}.attn.c_attn.bias": torch.cat([linear.bias for linear in qkv]),
            f"{block}.attn.c_proj.weight": attention.o_proj.weight,
            f"{block}.ln_2.weight": layer.post_attention_layernorm.weight,
            f"{block}.mlp.w2.weight": layer.mlp.gate_proj.weight,
            f"{block}.mlp.w1.weight": layer.mlp.up_proj.weight,
            f"{block}.mlp.c_proj.weight": layer.mlp.down_proj.weight,
        }
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def write(directory: Path, tensors: Mapping[str, Tensor], **changes: object) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | changes))
    save_file(dict(tensors), directory / "model.safetensors")


def read_as_qwen2(directory: Path) -> Qwen2ForCausalLM:
    config, tensors = read_language_model(directory)
    model = Qwen2ForCausalLM(config)
    named = {name.removeprefix("language_model."): tensor for name, tensor in tensors.items()}
    model.load_state_dict(named, strict=True)
    return model.eval()


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


def rotate(x: Tensor) -> Tensor:
    """Turn pair (i, i + half) of each head [time, heads, HEAD_DIM] by time * BASE^(-i / half)."""
    half = HEAD_DIM // 2
    angle = torch.arange(len(x))[:, None] * BASE ** (-torch.arange(half) / half)
    pair = torch.complex(x[..., :half], x[..., half:])
    turned = pair * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.cat([turned.real, turned.imag], dim=-1)


def original_forward(tensors: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    """The old layout's network written out: logits [time, vocab_size]."""
    hidden = tensors["transformer.wte.weight"][ids]
    future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
    for number in range(LAYERS):
        block = f"transformer.h.{number}"
        x = rms_norm(hidden, tensors[f"{block}.ln_1.weight"])
        fused = x @ tensors[f"{block}.attn.c_attn.weight"].T + tensors[f"{block}.attn.c_attn.bias"]
        q, k, v = (part.reshape(-1, HEADS, HEAD_DIM) for part in fused.split(WIDTH, dim=1))
        scores = torch.einsum("ihd,jhd->hij", rotate(q), rotate(k)) / math.sqrt(HEAD_DIM)
        seen = scores.masked_fill(future, -math.inf).softmax(-1)
        heard = torch.einsum("hij,jhd->ihd", seen, v).flatten(1)
        hidden = hidden + heard @ tensors[f"{block}.attn.c_proj.weight"].T
        x = rms_norm(hidden, tensors[f"{block}.ln_2.weight"])
        gated = (x @ tensors[f"{block}.mlp.w1.weight"].T) * functional.silu(
            x @ tensors[f"{block}.mlp.w2.weight"].T
        )
        hidden = hidden + gated @ tensors[f"{block}.mlp.c_proj.weight"].T
    return rms_norm(hidden, tensors["transformer.ln_f.weight"]) @ tensors["lm_head.weight"].T


@torch.no_grad()
def test_the_old_layout_gives_its_own_formulas_logits(
    qwen: dict[str, Tensor], twin: Qwen2ForCausalLM, tmp_path: Path
) -> None:
    write(tmp_path, qwen)
    ours = read_as_qwen2(tmp_path)(IDS[None]).logits[0]
    expected = original_forward(qwen, IDS)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours, twin(IDS[None]).logits[0], atol=0, rtol=0)


@torch.no_grad()
def test_a_qwen_is_assembled_with_the_tokenizer_of_its_ranks(
    qwen: dict[str, Tensor], tmp_path: Path
) -> None:
    write(tmp_path, qwen)
    write_ranks(tmp_path)
    write_whisper(tmp_path / "whisper")
    model, processor = assemble(tmp_path / "whisper", tmp_path, seed=0)
    ids = processor.tokenizer("the dog<|im_end|>", return_tensors="pt").input_ids
    assert ids.tolist() == [[RANKS.index(b"the"), RANKS.index(b" dog"), len(RANKS) + 2]]
    assert len(processor.tokenizer) == len(RANKS) + 208 + 3
    assert model.lm_head.weight.shape == (ROWS, WIDTH)
    expected = original_forward(qwen, ids[0])[:, : len(RANKS) + 208]
    ours = model(input_ids=ids).logits[0, :, : len(RANKS) + 208]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert check_hears(model, processor) > 1e-3


def test_buffers_of_the_old_code_may_be_there(qwen: dict[str, Tensor], tmp_path: Path) -> None:
    buffers = ("rotary_emb.inv_freq", "h.0.attn.masked_bias", "h.1.attn.bias")
    write(tmp_path, qwen | {f"transformer.{name}": torch.ones(1) for name in buffers})
    assert read_as_qwen2(tmp_path).config.max_position_embeddings == 128


def test_gaps_are_named_as_they_are_on_disk(qwen: dict[str, Tensor], tmp_path: Path) -> None:
    del qwen["transformer.h.1.attn.c_attn.bias"]
    qwen["transformer.h.0.attn.c_attn.weight"] = torch.ones(64, 32)
    qwen["transformer.h.0.attn.c_proj.bias"] = torch.ones(32)
    write(tmp_path, qwen)
    with pytest.raises(CheckpointError) as error:
        read_language_model(tmp_path)
    for part in (
        "1 missing: transformer.h.1.attn.c_attn.bias (96,)",
        "1 left over: transformer.h.0.attn.c_proj.bias",
        "transformer.h.0.attn.c_attn.weight (F32 (64, 32), expected float (96, 32))",
    ):
        assert part in str(error.value)


def test_the_published_sizes_become_qwen2s() -> None:
    published = CONFIG | {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "kv_channels": 128,
        "intermediate_size": 22016,
        "layer_norm_epsilon": 1e-6,
        "rotary_emb_base": 10000,
        "seq_length": 8192,
        "vocab_size": 151936,
    }
    config = qwen2_config(published)
    assert config.intermediate_size == 11008
    assert config.num_key_value_heads == 32
    assert config.rope_parameters["rope_theta"] == 10000
    assert config.max_position_embeddings == 8192
    # Eight names a layer, of which two hold three tensors each.
    assert len(qwen2_names(32)) == 3 + 32 * 8
    assert sum(map(len, qwen2_names(32).values())) == 3 + 32 * 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"no_bias": False}, "no_bias is False; only True"),
        ({"rotary_pct": 0.5}, "rotary_pct is 0.5"),
        ({"kv_channels": 16}, "kv_channels is 16 with 4 heads.*hidden_size 32"),
    ],
)
def test_what_qwen2_cannot_express_is_refused(
    changes: dict[str, object], message: str, qwen: dict[str, Tensor], tmp_path: Path
) -> None:
    write(tmp_path, qwen, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_language_model(tmp_path)


def test_a_size_that_is_missing_is_named(qwen: dict[str, Tensor], tmp_path: Path) -> None:
    write(tmp_path, qwen)
    config = {name: value for name, value in CONFIG.items() if name != "rotary_emb_base"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="rotary_emb_base"):
        read_language_model(tmp_path)
