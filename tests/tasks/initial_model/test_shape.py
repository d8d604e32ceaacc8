"""The shape of a model is known before there is one: from a recipe, a config.json, or a name."""

import json
from pathlib import Path

import pytest
from transformers import Qwen2Config, WhisperConfig

from model.checkpoints.construct import ModelRecipe
from model.costs.shapes import count_parameters, published_config
from model.tuning import TuningRecipe
from tasks.initial_model.build import ReleasedRecipe, TowersRecipe, WeightSource
from tasks.initial_model.shape import UnknownShapeError, initial_shape

TOWERS = TowersRecipe(kind="towers")


def test_a_recipe_has_its_own_shape() -> None:
    shape, notes = initial_shape(ModelRecipe(text_layers=5), None)
    assert shape.text_config.num_hidden_layers == 5
    assert shape.text_config.vocab_size == ModelRecipe().vocab_size
    assert notes == ()


def test_towers_that_are_there_are_read(tmp_path: Path) -> None:
    WhisperConfig(d_model=64, encoder_layers=3, encoder_attention_heads=2).save_pretrained(
        tmp_path / "whisper-base"
    )
    Qwen2Config(hidden_size=96, num_hidden_layers=7, vocab_size=500).save_pretrained(
        tmp_path / "mine"
    )
    source = WeightSource(
        audio_encoder=str(tmp_path / "whisper-base"), language_model=str(tmp_path / "mine")
    )
    shape, notes = initial_shape(TOWERS, source)
    assert (shape.audio_config.d_model, shape.audio_config.encoder_layers) == (64, 3)
    assert (shape.text_config.hidden_size, shape.text_config.num_hidden_layers) == (96, 7)
    assert notes == ()


def test_weights_out_of_reach_have_the_shape_that_was_published_and_the_plan_says_so() -> None:
    source = WeightSource(
        audio_encoder="s3://nowhere/whisper-small", language_model="/nowhere/Qwen2-0.5B-Instruct"
    )
    shape, notes = initial_shape(TOWERS, source)
    assert shape.audio_config.d_model == 768
    assert shape.text_config.hidden_size == 896
    assert len(notes) == 2
    assert notes[0] == "weights.audio_encoder is taken to have the published shape of that name"


def test_a_released_model_is_read(tmp_path: Path) -> None:
    config = published_config("Qwen2-Audio-7B") or {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape, notes = initial_shape(
        ReleasedRecipe(kind="released"), WeightSource(released=str(tmp_path))
    )
    assert shape.text_config.vocab_size == 156_032
    assert notes == ()


def test_an_unknown_name_out_of_reach_is_an_error_with_a_remedy() -> None:
    source = WeightSource(audio_encoder="/nowhere/whisper-small", language_model="/nowhere/mine")
    with pytest.raises(
        UnknownShapeError, match=r"weights.language_model is '/nowhere/mine'.*Name the folder as"
    ):
        initial_shape(TOWERS, source)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("Qwen2-0.5B", 494), ("Qwen2.5-1.5B-Instruct", 1544), ("Qwen2-7B", 7616)],
)
def test_published_language_models_have_the_published_number_of_parameters(
    name: str, millions: int
) -> None:
    """As their model cards say; the small ones tie their embeddings, which Qwen2-Audio can't."""
    source = WeightSource(audio_encoder="/nowhere/whisper-tiny", language_model=f"/nowhere/{name}")
    shape, _ = initial_shape(TOWERS, source)
    whole = count_parameters(shape, TuningRecipe()).total
    alone = WeightSource(
        audio_encoder="/nowhere/whisper-tiny", language_model="/nowhere/smollm2-135m"
    )
    text = shape.text_config
    encoder_and_projector = _without_text(alone) + 385 * (text.hidden_size - 576)
    tied = 0 if name == "Qwen2-7B" else text.vocab_size * text.hidden_size
    assert whole - encoder_and_projector - tied == pytest.approx(millions * 1e6, rel=2e-3)


def _without_text(source: WeightSource) -> int:
    """Parameters of encoder and projector, beside SmolLM2's 134.5 million, its head twice."""
    shape, _ = initial_shape(TOWERS, source)
    whole = count_parameters(shape, TuningRecipe()).total
    return whole - 134_515_008 - 49_152 * 576
