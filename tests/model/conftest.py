"""A tiny model with every weight random, so that no layer hides behind zeros or ones."""

import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from model.checkpoints.construct import build_model
from model.tokenizer import build_processor, train_tokenizer
from tests.support.oracle import RECIPE, TEXTS


@pytest.fixture(scope="session")
def processor() -> Qwen2AudioProcessor:
    tokenizer = train_tokenizer(TEXTS, RECIPE.vocab_size, ["en", "de"])
    return build_processor(tokenizer, RECIPE.num_mel_bins)


@pytest.fixture
def model(processor: Qwen2AudioProcessor) -> Qwen2AudioForConditionalGeneration:
    """Ours; the plain forward of transformers works on it too."""
    built = build_model(RECIPE, processor.tokenizer)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter += 0.15 * torch.randn(parameter.shape, generator=generator)
    return built
