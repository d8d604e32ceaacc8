"""A checkpoint of ours answers in plain transformers, and a deaf model is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)

from data_contracts.digest import digest_of_bytes
from model.attention import NAME
from model.checkpoints.assemble import assemble
from model.checkpoints.checkpoint import (
    ModelDeafError,
    check_hears,
    load_checkpoint,
    save_checkpoint,
)
from model.checkpoints.construct import build_model
from model.checkpoints.weights import CheckpointError
from model.generate import GenerationSettings, generate
from model.tokenizer import build_processor
from tests.support.oracle import CLIPS, CONVERSATIONS, FEATURES, RECIPE, prompt_of
from tests.support.small_checkpoints import change_tensors, write_llama, write_whisper

Model: TypeAlias = Qwen2AudioForConditionalGeneration


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


def test_half_precision_is_opened_in_float32(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, model.to(torch.bfloat16), processor)
    assert load_file(tmp_path / "model.safetensors")["multi_modal_projector.linear.bias"].dtype == (
        torch.bfloat16
    )
    loaded, _ = load_checkpoint(tmp_path)
    for (name, ours), theirs in zip(loaded.named_parameters(), model.parameters(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.float()), name


@pytest.mark.parametrize("kind", ["built", "assembled", "loaded"])
def test_tensors_are_named_as_in_released_checkpoints(
    kind: str, model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    if kind == "assembled":
        write_whisper(tmp_path / "whisper")
        write_llama(tmp_path / "text", tied=True)
        model, processor = assemble(tmp_path / "whisper", tmp_path / "text", seed=0)
    if kind == "loaded":
        save_checkpoint(tmp_path / "before", model, processor)
        model, processor = load_checkpoint(tmp_path / "before")
    save_checkpoint(tmp_path / "out", model, processor)
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert {"language_model.lm_head.weight", "language_model.model.norm.weight"} < names
    assert {name.split(".")[0] for name in names} == {
        "audio_tower",
        "language_model",
        "multi_modal_projector",
    }


BIAS = "multi_modal_projector.linear.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(BIAS), f"1 missing: model.{BIAS}"),
        (lambda tensors: tensors.update({"x.weight": torch.ones(2)}), "1 left over: x.weight"),
        (
            lambda tensors: tensors.update({BIAS: torch.ones(3)}),
            rf"1 of another shape or type: model.{BIAS} \(\(3,\), expected \(32,\)\)",
        ),
    ],
)
def test_a_tensor_that_is_missing_left_over_or_reshaped_is_an_error(
    change: Callable[[dict[str, Tensor]], None],
    message: str,
    model: Model,
    processor: Qwen2AudioProcessor,
    tmp_path: Path,
) -> None:
    save_checkpoint(tmp_path, model, processor)
    change_tensors(tmp_path, change)
    with pytest.raises(CheckpointError, match=rf"the tensors in {tmp_path} .*{message}"):
        load_checkpoint(tmp_path)


def test_a_folder_that_holds_something_else_is_an_error_that_names_it(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"there is no folder .*nothing here"):
        load_checkpoint(tmp_path / "nothing here")
    write_llama(tmp_path / "llama", tied=False)
    with pytest.raises(CheckpointError, match="llama holds a 'llama' checkpoint; qwen2_audio is"):
        load_checkpoint(tmp_path / "llama")
    save_checkpoint(tmp_path / "ours", model, processor)
    (tmp_path / "ours" / "model.safetensors").rename(tmp_path / "ours" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"ours has neither .*a pickle could run anything"):
        load_checkpoint(tmp_path / "ours")


def test_quantised_weights_are_refused(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, model, processor)
    config = json.loads((tmp_path / "config.json").read_text())
    quantised = config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(quantised))
    with pytest.raises(CheckpointError, match="are quantised"):
        load_checkpoint(tmp_path)


def test_a_processor_of_another_model_is_refused(
    model: Model, processor: Qwen2AudioProcessor, tmp_path: Path
) -> None:
    def refuses(other: Qwen2AudioProcessor, message: str) -> None:
        save_checkpoint(tmp_path, model, other)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path)

    tokenizer = processor.tokenizer
    refuses(build_processor(tokenizer, 128), "mel channels is 128 for the processor and 80 for")
    larger = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    larger.add_tokens([f"<{number}>" for number in range(100)])
    refuses(build_processor(larger, 80), "tokens with an embedding is 4.. for the processor and")
    model.config.audio_token_index += 1
    refuses(processor, r"id of <\|AUDIO\|> is 4 for the processor and 5 for")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="has no processor that can be read"):
        load_checkpoint(tmp_path)


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
