"""Small random towers, on disk as their publishers write them."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from tests.support.oracle import TEXTS

M = TypeVar("M", bound=nn.Module)
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
RANKS = [bytes([byte]) for byte in range(256)] + [
    text.encode() for text in ("th", "he", " t", "the", " the", "aa", "og", " d", " dog", "ö", "日")
]
"""Tokens of a Qwen-7B's tokenizer, in order of rank."""


def random_model(kind: type[M], config: PreTrainedConfig, seed: int) -> M:
    """A model with every parameter random, so that none hides behind zeros or ones."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = kind(config)
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape))
    return model.eval()


def write_whisper(directory: Path, num_mel_bins: int = 80) -> WhisperForConditionalGeneration:
    """A Whisper with two encoder layers, and dropout as a fine-tuned one may have it."""
    config = WhisperConfig(
        num_mel_bins=num_mel_bins,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        encoder_layerdrop=0.1,
        dropout=0.1,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        begin_suppress_tokens=None,
    )
    model = random_model(WhisperForConditionalGeneration, config, seed=1)
    model.save_pretrained(directory)
    return model


def write_qwen2(directory: Path, tied: bool) -> Qwen2ForCausalLM:
    """A Qwen2 with rows to spare, and its tokenizer, which knows the control tokens of text."""
    tokenizer = train(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.save_pretrained(directory)
    config = Qwen2Config(
        **_SIZES,
        num_key_value_heads=2,
        vocab_size=len(tokenizer) + 20,
        tie_word_embeddings=tied,
    )
    model = random_model(Qwen2ForCausalLM, config, seed=2)
    model.save_pretrained(directory)
    return model


def write_llama(directory: Path, tied: bool) -> LlamaForCausalLM:
    """A Llama without a row to spare, whose tokenizer begins every text with a token."""
    tokenizer = train(["<s>", "</s>"])
    start = ("<s>", tokenizer.convert_tokens_to_ids("<s>"))
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[start]
    )
    tokenizer.save_pretrained(directory)
    config = LlamaConfig(
        **_SIZES,
        num_key_value_heads=1,
        vocab_size=len(tokenizer),
        tie_word_embeddings=tied,
        pad_token_id=7,
    )
    model = random_model(LlamaForCausalLM, config, seed=3)
    model.save_pretrained(directory)
    return model


WRITERS: dict[str, Callable[[Path], nn.Module]] = {
    "qwen2": lambda directory: write_qwen2(directory, tied=False),
    "qwen2 tied": lambda directory: write_qwen2(directory, tied=True),
    "llama": lambda directory: write_llama(directory, tied=False),
    "llama tied": lambda directory: write_llama(directory, tied=True),
}


def train(special: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with `special` tokens behind the others."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    backend.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def change_tensors(directory: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Rewrite `model.safetensors` after `change` has edited its tensors."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def write_ranks(directory: Path) -> None:
    """`RANKS` as a Qwen-7B folder holds them."""
    lines = [base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(RANKS)]
    (directory / "qwen.tiktoken").write_bytes(b"".join(lines))
