"""What is assembled hears as its Whisper and writes as its language model, in transformers too."""

from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperForConditionalGeneration,
)

from model.batch import collate
from model.checkpoints.assemble import assemble, extend_rows
from model.checkpoints.checkpoint import check_hears, load_checkpoint, save_checkpoint
from model.checkpoints.weights import CheckpointError
from model.encoder import encode_audio
from model.forward import label_log_probs
from model.generate import GenerationSettings, generate
from model.tokenizer import CONTROL_TOKENS
from tests.support.oracle import (
    CLIPS,
    CONVERSATIONS,
    FEATURES,
    make_waveform,
    padded_inputs,
    prompt_of,
    reference_logits,
    tokens_of,
)
from tests.support.small_checkpoints import WRITERS, train, write_llama, write_qwen2, write_whisper

Model: TypeAlias = Qwen2AudioForConditionalGeneration


def assembled(kind: str, directory: Path) -> tuple[Model, Qwen2AudioProcessor]:
    """Ours, saved in `out` besides; the towers lie in `whisper` and `text`."""
    write_whisper(directory / "whisper")
    WRITERS[kind](directory / "text")
    model, processor = assemble(directory / "whisper", directory / "text", seed=0)
    save_checkpoint(directory / "out", model, processor)
    return model, processor


def input_of(module: nn.Module, call: nn.Module, features: Tensor) -> Tensor:
    """What reaches `module` when `call` hears `features`."""
    caught: list[Tensor] = []
    with torch.no_grad(), module.register_forward_pre_hook(lambda _, args: caught.append(args[0])):
        call(features)
    return caught[0]


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_the_encoder_is_whispers_up_to_its_pooling(num_mel_bins: int, tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper", num_mel_bins)
    write_qwen2(tmp_path / "text", tied=False)
    model, processor = assemble(tmp_path / "whisper", tmp_path / "text", seed=0)
    save_checkpoint(tmp_path / "out", model, processor)

    tower = Model.from_pretrained(tmp_path / "out").model.audio_tower
    whisper = WhisperForConditionalGeneration.from_pretrained(tmp_path / "whisper").model.encoder
    features = padded_inputs([make_waveform(50_000, seed=1)], num_mel_bins)["input_features"]
    ours = input_of(tower.avg_pooler, tower, features).transpose(1, 2)
    theirs = input_of(whisper.layer_norm, whisper, features)
    assert theirs.shape == (1, 1500, 32)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(tower.layer_norm(theirs), whisper.layer_norm(theirs))
    assert processor.feature_extractor.feature_size == num_mel_bins


@pytest.mark.parametrize("kind", WRITERS)
@torch.no_grad()
def test_text_has_the_language_models_logits(kind: str, tmp_path: Path) -> None:
    assembled(kind, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "text")
    ours = Model.from_pretrained(tmp_path / "out")
    text = "the lazy dog, 1 2 3: und Größe"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    reread = Qwen2AudioProcessor.from_pretrained(tmp_path / "out")(text=text, return_tensors="pt")
    assert torch.equal(reread.input_ids, ids)
    expected = theirs(ids).logits[..., : len(tokenizer)]
    assert expected.abs().max() > 0.5
    logits = ours(input_ids=ids).logits[..., : len(tokenizer)]
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", WRITERS)
@torch.no_grad()
def test_with_audio_saved_reloaded_and_packed_are_the_same(kind: str, tmp_path: Path) -> None:
    model, processor = assembled(kind, tmp_path)
    sequences = [tokens_of(conversation, processor) for conversation in CONVERSATIONS]
    batch = collate(sequences, FEATURES)
    ours = label_log_probs(model, batch).log_probs
    reloaded, reread = load_checkpoint(tmp_path / "out")
    assert torch.equal(label_log_probs(reloaded, batch).log_probs, ours)
    assert check_hears(reloaded, reread) > 1e-3

    reference = Model.from_pretrained(tmp_path / "out")
    assert reference.config._attn_implementation == "sdpa"
    expected = []
    for sequence in sequences:
        targets = sequence.is_label.nonzero()[0]
        rows = reference_logits(reference, sequence)[targets - 1].log_softmax(-1)
        expected.append(rows[range(len(targets)), sequence.input_ids[targets]])
    torch.testing.assert_close(ours, torch.cat(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "qwen2 tied"])
def test_answers_are_the_reference_classes(kind: str, tmp_path: Path) -> None:
    model, processor = assembled(kind, tmp_path)
    reference = Model.from_pretrained(tmp_path / "out")
    stops = frozenset(reference.generation_config.eos_token_id)
    assert processor.tokenizer.convert_tokens_to_ids("<|im_end|>") in stops
    conversation = CONVERSATIONS[4]
    settings = GenerationSettings(max_new_tokens=12)
    prompt = prompt_of(conversation, processor)
    ((answer,),) = generate(model, [prompt], FEATURES, settings, stops, ["voice"])
    inputs = padded_inputs([CLIPS["odd"]], 80)
    ids = torch.from_numpy(prompt.input_ids)[None]
    output = reference.generate(input_ids=ids, max_new_tokens=12, do_sample=False, **inputs)
    new = output[0, ids.shape[1] :].tolist()
    assert tuple(token for token in new if token not in stops) == answer.token_ids
    assert len(answer.token_ids) > 2


@pytest.mark.parametrize("kind", WRITERS)
def test_new_tokens_take_spare_rows_then_appended_ones(kind: str, tmp_path: Path) -> None:
    model, processor = assembled(kind, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    old = len(AutoTokenizer.from_pretrained(tmp_path / "text"))
    new = len(processor.tokenizer)
    spare = theirs.config.vocab_size - old
    assert new - old == (3 if "qwen2" in kind else 6)
    for ours, matrix in (
        (model.model.language_model.embed_tokens.weight, theirs.get_input_embeddings().weight),
        (model.lm_head.weight, theirs.get_output_embeddings().weight),
    ):
        assert len(ours) == (old + spare if spare else 320)
        assert torch.equal(ours[:old], matrix[:old])
        torch.testing.assert_close(ours[old:new], matrix[:old].mean(0).expand(new - old, -1))
        assert torch.equal(ours[new : old + spare], matrix[new : old + spare])
    ids = processor.tokenizer.convert_tokens_to_ids(list(CONTROL_TOKENS))
    assert max(ids) < len(model.lm_head.weight)
    assert model.config.audio_token_id == ids[4]
    assert model.model.language_model.embed_tokens.padding_idx is None


def test_tied_embeddings_become_two_equal_matrices_that_survive_saving(tmp_path: Path) -> None:
    assembled("llama tied", tmp_path)
    reference = Model.from_pretrained(tmp_path / "out")
    embeddings = reference.model.language_model.embed_tokens.weight
    assert torch.equal(embeddings, reference.lm_head.weight)
    assert embeddings.data_ptr() != reference.lm_head.weight.data_ptr()
    assert not reference.config.text_config.tie_word_embeddings


@torch.no_grad()
def test_projected_audio_is_as_loud_as_text(tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper")
    write_qwen2(tmp_path / "text", tied=False)
    powers = []
    for seed in range(10):
        model, _ = assemble(tmp_path / "whisper", tmp_path / "text", seed)
        tokens, _ = encode_audio(model, list(FEATURES.values()))
        powers.append(tokens.square().mean())
    embeddings = model.model.language_model.embed_tokens.weight[:303]
    ratio = torch.stack(powers).mean().sqrt() / embeddings.square().mean().sqrt()
    assert 0.85 < float(ratio) < 1.15
    assert not model.model.multi_modal_projector.linear.bias.any()
    assert not model.model.audio_tower.embed_positions.weight.requires_grad


def test_the_seed_alone_decides_the_projector(tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper")
    write_llama(tmp_path / "text", tied=False)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = (
        assemble(tmp_path / "whisper", tmp_path / "text", seed)[0].state_dict()
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    differing = [name for name in first if not torch.equal(first[name], other[name])]
    assert differing == ["model.multi_modal_projector.linear.weight"]


def test_a_tokenizer_larger_than_its_model_is_refused(tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper")
    write_llama(tmp_path / "text", tied=False)
    train([f"<{number}>" for number in range(10)]).save_pretrained(tmp_path / "text")
    with pytest.raises(CheckpointError, match="tokenizer of 310 tokens and 302 embeddings"):
        assemble(tmp_path / "whisper", tmp_path / "text", seed=0)


def test_a_sliding_window_is_refused(tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper")
    theirs = write_qwen2(tmp_path / "text", tied=False)
    theirs.config.layer_types = ["full_attention", "sliding_attention"]
    theirs.config.save_pretrained(tmp_path / "text")
    with pytest.raises(ValueError, match=r"sliding_attention.*full_attention only"):
        assemble(tmp_path / "whisper", tmp_path / "text", seed=0)


def test_rows_are_kept_used_and_appended() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0], [8.0, 8.0]])
    spare = extend_rows(matrix.clone(), 2, 3)
    assert spare.tolist() == [[1, 2], [3, 6], [2, 4], [8, 8]]
    appended = extend_rows(matrix[:2].clone(), 2, 5)
    assert appended.shape == (64, 2)
    assert appended[:3].tolist() == [[1, 2], [3, 6], [2, 4]]
    assert torch.equal(appended[2:], torch.tensor([[2.0, 4.0]]).expand(62, -1))
