"""A recipe fixes the model and touches nothing else."""

import pytest
import torch
from transformers import Qwen2AudioProcessor, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from model.checkpoints.construct import ModelRecipe, build_model, sinusoids
from tests.support.oracle import RECIPE


def test_the_recipe_alone_decides_the_weights(processor: Qwen2AudioProcessor) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_model(RECIPE, processor.tokenizer)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = build_model(RECIPE, processor.tokenizer)
    other = build_model(RECIPE.model_copy(update={"seed": 1}), processor.tokenizer)
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b), name
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_positions_are_whispers_made_quieter_and_frozen(processor: Qwen2AudioProcessor) -> None:
    whisper = WhisperEncoder(
        WhisperConfig(d_model=32, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32)
    )
    torch.testing.assert_close(sinusoids(1500, 32), whisper.embed_positions.weight)
    positions = build_model(RECIPE, processor.tokenizer).model.audio_tower.embed_positions
    torch.testing.assert_close(positions.weight, 0.3 * whisper.embed_positions.weight)
    assert not positions.weight.requires_grad


def test_the_vocabulary_is_padded_and_untied(processor: Qwen2AudioProcessor) -> None:
    model = build_model(RECIPE, processor.tokenizer)
    embeddings = model.model.language_model.embed_tokens.weight
    assert embeddings.shape[0] % 64 == 0
    assert 0 <= embeddings.shape[0] - len(processor.tokenizer) < 64
    assert embeddings.data_ptr() != model.lm_head.weight.data_ptr()


def test_a_tokenizer_that_is_too_large_is_refused(processor: Qwen2AudioProcessor) -> None:
    small = RECIPE.model_copy(update={"vocab_size": 300})
    with pytest.raises(ValueError, match="tokens, the recipe's vocab_size is 300"):
        build_model(small, processor.tokenizer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"audio_width": 30, "audio_heads": 4}, "audio_width is 30 and audio_heads 4"),
        ({"text_width": 20, "text_heads": 4}, "text_width is 20 and text_heads 4"),
        ({"text_heads": 4, "text_kv_heads": 3}, "text_kv_heads 3"),
    ],
)
def test_heads_that_do_not_divide_are_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelRecipe.model_validate(fields)
