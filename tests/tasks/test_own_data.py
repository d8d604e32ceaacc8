"""A small corpus of one's own goes through the stages with recipes that name no task."""

from dataclasses import dataclass

import pytest

from data_contracts.jsonl import from_jsonl
from infra.storage.store import Store
from tasks import ingest, pretrain, sft, start
from tasks.collect_preferences import CollectRecipe
from tasks.corpus_problems import (
    collect_preferences_problems,
    evaluate_problems,
    pretrain_problems,
    sft_problems,
)
from tasks.evaluate import EvaluateRecipe
from tasks.initial_model.build import StartRecipe
from tasks.objectives.supervised import MIXTURE
from tasks.pretrain import PretrainRecipe
from tasks.sft import SftRecipe
from tasks.training_data.mixture import MixtureRow
from tests.support import ingests
from tests.support.recordings import stage_context, write_manifest, write_tones

OPTIMIZER = {"steps": 8, "examples_per_step": 4, "learning_rate": 1e-3, "warmup_steps": 0}
MODEL = {
    "kind": "scratch", "audio_layers": 1, "audio_width": 32, "audio_heads": 2, "audio_ffn": 64,
    "text_layers": 1, "text_width": 32, "text_heads": 2, "text_kv_heads": 2, "text_ffn": 64,
    "vocab_size": 512,
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """Corpus and two checkpoints of 30 transcribed tones."""

    corpus: Store
    pretrained: Store
    tuned: Store


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("own")
    names = [f"clip {number}" for number in range(30)]
    write_tones(folder / "in", names, seconds=0.3)
    rows = [{"id": n, "audio": f"{n}.wav", "task": "asr", "text": f"it is {n}"} for n in names]
    ingests.run(folder / "corpus", ingests.BARE, write_manifest(folder / "in", rows))
    corpus = Store(str(folder / "corpus"))
    begun = stage_context(folder / "start", {"corpus": corpus})
    start.run(begun, StartRecipe.model_validate({"model": MODEL}))
    context = stage_context(folder / "pretrain", {"corpus": corpus, "checkpoint": begun.directory})
    pretrain.run(context, PretrainRecipe.model_validate({"optimizer": OPTIMIZER}))
    inputs = {"corpus": corpus, "checkpoint": context.directory}
    tuned = stage_context(folder / "sft", inputs)
    sft.run(tuned, SftRecipe.model_validate({"optimizer": OPTIMIZER}))
    return Trained(corpus, context.directory, tuned.directory)


def drawn(artifact: Store) -> dict[str, int]:
    rows = from_jsonl(artifact.read_text(MIXTURE), MixtureRow, MIXTURE)
    return {row.name: row.draws for row in rows if row.axis == "task"}


def test_thirty_transcripts_are_pretrained_and_fine_tuned_on(trained: Trained) -> None:
    assert drawn(trained.pretrained) == {"asr": 32}
    assert drawn(trained.tuned) == {"asr": 32}  # the chat about it: nothing is replayed or combined


def test_a_corpus_of_its_own_has_no_problem(trained: Trained) -> None:
    recipe = PretrainRecipe.model_validate({"optimizer": OPTIMIZER})
    assert pretrain_problems(trained.corpus, recipe) == []
    assert sft_problems(trained.corpus, SftRecipe.model_validate({"optimizer": OPTIMIZER})) == []
    assert collect_preferences_problems(trained.corpus, CollectRecipe()) == []
    assert evaluate_problems(trained.corpus, EvaluateRecipe()) == []


def test_the_corpus_keeps_its_contracts(trained: Trained) -> None:
    for result in ingest.check(trained.corpus):
        assert not result.failed
