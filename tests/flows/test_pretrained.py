"""The pipeline begins with pre-trained weights: two towers, or one released checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from flows.config import load_config
from flows.profile_files import ConfigError
from infra.settings import Settings
from infra.storage.store import Store
from model.checkpoints.checkpoint import load_checkpoint
from model.checkpoints.parity import Parity
from model.parts import part_of
from tasks.initial_model.build import WeightSource, WeightSourceError, weights_digest
from tasks.training.fit import CHECKPOINT, FINAL_STATE, PARITY
from tasks.training.state import PARAMETERS
from tests.support.tiny_run import TinyRun, run_tiny

WIDTH = 32


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random Whisper and a random Llama with its tokenizer, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(1)
    whisper = WhisperConfig(
        d_model=WIDTH, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=48,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=60,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    WhisperForConditionalGeneration(whisper).save_pretrained(folder / "whisper")
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["the dog barks while rain falls"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.save_pretrained(folder / "llama")
    llama = LlamaConfig(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, vocab_size=len(tokenizer), tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(llama).save_pretrained(folder / "llama")
    return {"audio_encoder": folder / "whisper", "language_model": folder / "llama"}


def options(small_manifest: Path, *more: str) -> tuple[str, ...]:
    return (f"data.manifest={small_manifest}", "resources.log_every_steps=2", *more)


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, small_manifest: Path, towers: dict[str, Path]
) -> TinyRun:
    """The whole tiny pipeline from towers, adapters in both, in bfloat16."""
    tuning = "{audio_encoder: frozen, language_model: lora, lora_rank: 4}"
    overrides = options(
        small_manifest,
        "start.model={kind: towers, ridge_clips: 8}",
        "pretrain.optimizer.precision=bfloat16",
        *(f"{stage}.tuning={tuning}" for stage in ("pretrain", "sft", "dpo")),
        *(f"weights.{name}={folder}" for name, folder in towers.items()),
    )
    settings = Settings(home=tmp_path_factory.mktemp("home"), store="", tracking_uri="")
    return run_tiny(settings, load_config("tiny", overrides))


def test_stages_train_the_projector_and_adapters_and_leave_the_encoder_as_whispers(
    run: TinyRun, towers: dict[str, Path]
) -> None:
    whisper = WhisperForConditionalGeneration.from_pretrained(towers["audio_encoder"])
    expected = whisper.model.encoder.state_dict()
    models = {}
    for stage in ("pretrain", "sft", "dpo"):
        folder = Path(run.artifact(stage).path(CHECKPOINT))
        models[stage] = load_checkpoint(folder)[0].state_dict()
        tower = {n: t for n, t in models[stage].items() if part_of(n) == "audio_encoder"}
        assert len(tower) == len(expected)
        for name, tensor in tower.items():
            assert torch.equal(tensor, expected[name.removeprefix("model.audio_tower.")]), name
    changed = {n for n, t in models["sft"].items() if not torch.equal(t, models["pretrain"][n])}
    assert any("multi_modal_projector" in name for name in changed)
    assert any("q_proj.weight" in name for name in changed)
    assert not any("embed_tokens" in name or "norm" in name for name in changed)


@pytest.mark.parametrize("stage", ["pretrain", "sft", "dpo"])
def test_every_export_is_held_to_the_trained_model(run: TinyRun, stage: str) -> None:
    parity = Parity(**json.loads(run.artifact(stage).read_text(PARITY)))
    assert parity.num_labels > 20
    assert parity.relative < 1e-5


def test_training_states_hold_trained_parameters_only(run: TinyRun) -> None:
    saved = load_file(run.artifact("pretrain").path(f"{FINAL_STATE}/{PARAMETERS}"))
    assert any(".lora_" in name for name in saved)
    assert {part_of(name) for name in saved} == {"projector", "language_model"}


def test_a_released_checkpoint_is_continued(run: TinyRun, small_manifest: Path) -> None:
    released = run.artifact("sft").path(CHECKPOINT)
    overrides = options(
        small_manifest, "start.model={kind: released}", f"weights.released={released}"
    )
    again = run_tiny(run.settings, load_config("tiny", overrides))
    assert again.states["ingest"] == "hit"
    assert again.states["pretrain"] == "run"


def test_the_content_of_weights_is_their_identity_and_the_place_is_not(
    towers: dict[str, Path], tmp_path: Path
) -> None:
    places = {name: str(folder) for name, folder in towers.items()}
    copy = tmp_path / "elsewhere"
    shutil.copytree(towers["audio_encoder"], copy)
    moved = places | {"audio_encoder": str(copy)}
    digest = weights_digest(WeightSource(**places))
    assert weights_digest(WeightSource(**moved)) == digest
    with Path(copy / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    assert weights_digest(WeightSource(**moved)) != digest


def test_weights_that_are_not_there_are_refused_with_the_remedy(tmp_path: Path) -> None:
    source = WeightSource(released=str(tmp_path / "nowhere"))
    with pytest.raises(WeightSourceError, match=r"weights.released is .*nowhere.*make pretrained"):
        weights_digest(source)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["weights.audio_encoder=a"], "give the first two, or the last alone"),
        (["weights.audio_encoder=a", "weights.released=b"], "give the first two, or the last"),
        (["weights.released=b"], "kind is 'scratch', but the weights .* are for 'released'"),
        (["start.model={kind: towers}"], "kind is 'towers', but the weights .* 'scratch'"),
        (["start.model={kind: magic}"], "'magic'"),
    ],
)
def test_weights_and_recipe_must_say_the_same(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("tiny", overrides)


def test_a_store_of_weights_is_read_through_any_file_system(towers: dict[str, Path]) -> None:
    memory = Store("memory://towers")
    for path in towers["audio_encoder"].iterdir():
        memory.write_bytes(f"whisper/{path.name}", path.read_bytes())
    places = {"audio_encoder": "memory://towers/whisper"}
    source = WeightSource(**places, language_model=str(towers["language_model"]))
    local = WeightSource(**{name: str(folder) for name, folder in towers.items()})
    assert weights_digest(source) == weights_digest(local)
