"""A checkpoint of ours answers in plain transformers, and a deaf model is found."""

from pathlib import Path

import pytest
import torch
from oracle import CLIPS, CONVERSATIONS, FEATURES, RECIPE, prompt_of
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.digest import digest_of_bytes
from model.attention import NAME
from model.checkpoint import ModelDeafError, check_hears, load_checkpoint, save_checkpoint
from model.construct import build_model
from model.generate import GenerationSettings, generate

Model = Qwen2AudioForConditionalGeneration


def test_the_reference_classes_answer_as_we_do(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, model, processor)
    ours, our_processor = load_checkpoint(tmp_path)
    reference = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path).eval()
    reference_processor = Qwen2AudioProcessor.from_pretrained(tmp_path)
    assert reference.config._attn_implementation == "sdpa"
    assert ours.config.text_config._attn_implementation == NAME

    conversation = CONVERSATIONS[4]
    stops = frozenset(reference.generation_config.eos_token_id)
    settings = GenerationSettings(max_new_tokens=15)
    prompt = prompt_of(conversation, our_processor)
    ((answer,),) = generate(ours, [prompt], FEATURES, settings, stops, ["voice"])

    messages = [{"role": "user", "content": [{"type": "audio", "audio_url": "odd"}]}]
    text = reference_processor.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    inputs = reference_processor(
        text=text, audio=[CLIPS["odd"].numpy()], sampling_rate=16_000, return_tensors="pt"
    )
    output = reference.generate(**inputs, max_new_tokens=15, do_sample=False)
    new = output[0, inputs.input_ids.shape[1] :].tolist()
    assert tuple(token for token in new if token not in stops) == answer.token_ids
    assert len(answer.token_ids) > 2


def test_the_same_weights_give_the_same_bytes_and_survive_loading(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "first", model, processor)
    loaded, loaded_processor = load_checkpoint(tmp_path / "first")
    save_checkpoint(tmp_path / "second", loaded, loaded_processor)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
        first, second = (tmp_path / folder / name for folder in ("first", "second"))
        assert digest_of_bytes(first.read_bytes()) == digest_of_bytes(second.read_bytes()), name
    assert not loaded.training
    assert not loaded.model.audio_tower.embed_positions.weight.requires_grad
    assert NAME not in (tmp_path / "second" / "config.json").read_text()


def test_a_missing_checkpoint_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing here"):
        load_checkpoint(tmp_path / "nothing here")


def test_random_and_untrained_models_hear(model: Model, processor: Qwen2AudioProcessor) -> None:
    assert check_hears(model, processor) > 1e-3
    assert check_hears(build_model(RECIPE, processor.tokenizer), processor) > 1e-5


def test_a_model_without_a_projector_is_deaf(model: Model, processor: Qwen2AudioProcessor) -> None:
    with torch.no_grad():
        model.model.multi_modal_projector.linear.weight.zero_()
    with pytest.raises(ModelDeafError, match=r"changed the logits by 0\.0e"):
        check_hears(model, processor)


def test_a_model_that_answers_nan_is_deaf(model: Model, processor: Qwen2AudioProcessor) -> None:
    with torch.no_grad():
        model.model.audio_tower.conv1.weight.fill_(float("nan"))
    with pytest.raises(ModelDeafError, match="nan"):
        check_hears(model, processor)
