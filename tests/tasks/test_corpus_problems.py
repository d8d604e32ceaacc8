"""What a corpus lacks for a stage is told from its numbers alone, with value, rule and remedy."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.storage.store import Store
from tasks.collect_preferences import CollectRecipe
from tasks.corpus.contents import CONTENTS, CorpusContents
from tasks.corpus_problems import (
    collect_preferences_problems,
    dpo_problems,
    evaluate_problems,
    pretrain_problems,
    sft_problems,
)
from tasks.dpo import DpoRecipe
from tasks.evaluate import EvaluateRecipe
from tasks.pretrain import PretrainRecipe
from tasks.sft import SftRecipe

RICH: dict[str, Any] = {
    "completions": {"train": {"asr": 40, "lid": 8}, "test": {"asr": 5}},
    "dialogues": {"train": {"asr": 40, "lid": 8, "multi_turn": 400}, "test": {"asr": 5}},
    "prompts": {"train": {"asr": 20}, "test": {"asr": 2}},
    "pairs": {"train": 20, "dev": 4, "test": 6},
    "suites": {"asr": 5},
}
EMPTY: dict[str, Any] = {name: {} for name in RICH}


def corpus(folder: Path, **numbers: Any) -> Store:
    store = Store(str(folder))
    contents = CorpusContents.model_validate(RICH | numbers)
    store.write_text(CONTENTS, contents.model_dump_json())
    return store


def optimizer(per_step: int = 24) -> dict[str, Any]:
    return {
        "steps": 1, "examples_per_step": per_step, "learning_rate": 1e-3, "warmup_steps": 0
    }  # fmt: skip


def pretraining(per_step: int = 24, **mixture: float) -> PretrainRecipe:
    values = {"optimizer": optimizer(per_step), "mixture": mixture}
    return PretrainRecipe.model_validate(values)


def tuning(per_step: int = 24, **mixture: float) -> SftRecipe:
    return SftRecipe.model_validate({"optimizer": optimizer(per_step), "mixture": mixture})


def preference(per_step: int = 24) -> DpoRecipe:
    return DpoRecipe.model_validate({"optimizer": optimizer(per_step)})


def test_a_corpus_that_has_all_has_no_problem(tmp_path: Path) -> None:
    rich = corpus(tmp_path)
    assert pretrain_problems(rich, pretraining()) == []
    assert pretrain_problems(rich, pretraining(asr=3, ser=0)) == []
    assert sft_problems(rich, tuning(48)) == []
    assert sft_problems(rich, tuning(**{"replay:lid": 1, "multi_turn": 1})) == []
    assert collect_preferences_problems(rich, CollectRecipe()) == []
    assert dpo_problems(rich, preference()) == []
    assert evaluate_problems(rich, EvaluateRecipe()) == []


def test_all_weights_without_an_example_are_told_at_once(tmp_path: Path) -> None:
    rich = corpus(tmp_path)
    (problem,) = pretrain_problems(rich, pretraining(asr=1, ser=1, vocal=0.5))
    assert problem.startswith("pretrain: the mixture weighs ['ser', 'vocal'], of which the corpus")
    assert "it has ['asr', 'lid']. Leave them out" in problem
    (problem,) = sft_problems(rich, tuning(**{"voice_chat": 1, "replay:ser": 1, "asr": 1}))
    assert problem.startswith("sft: the mixture weighs ['replay:ser', 'voice_chat']")
    assert "['asr', 'lid', 'multi_turn', 'replay:asr', 'replay:lid']" in problem


def test_only_what_is_drawn_counts_for_a_step(tmp_path: Path) -> None:
    rich = corpus(tmp_path)
    (problem,) = pretrain_problems(rich, pretraining(lid=1))
    assert "pretrain takes 24 examples a step, and the corpus has 8 to draw from" in problem
    assert "Set pretrain.optimizer.examples_per_step to 8 or fewer" in problem
    (problem,) = sft_problems(rich, tuning(49))  # multi_turn is drawn only where it is named
    assert "the corpus has 48 to draw from" in problem
    assert sft_problems(rich, tuning(49, multi_turn=1)) == []


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_corpus_without_a_train_split_trains_nothing(split: str, tmp_path: Path) -> None:
    held_out = corpus(tmp_path, completions={split: {"asr": 9}}, dialogues={split: {"asr": 9}})
    for problems in (
        pretrain_problems(held_out, pretraining()),
        pretrain_problems(held_out, pretraining(asr=1)),
        sft_problems(held_out, tuning()),
    ):
        (problem,) = problems
        assert "has nothing to train on: the corpus has the training examples none" in problem
        assert "Add recordings of the split train" in problem


def test_weights_of_zero_train_nothing(tmp_path: Path) -> None:
    (problem,) = sft_problems(corpus(tmp_path), tuning(asr=0))
    assert "asr (40), lid (8), multi_turn (400)" in problem
    assert "the mixture draws []" in problem


def test_prompts_of_the_test_split_alone_give_no_training_pair(tmp_path: Path) -> None:
    for prompts in ({}, {"test": {"asr": 9}}):
        (problem,) = collect_preferences_problems(
            corpus(tmp_path, prompts=prompts), CollectRecipe()
        )
        assert "no prompt of train or dev" in problem
        assert "asr (40), lid (8), multi_turn (400)" in problem
        assert "`rejected`" in problem


def test_pairs_of_ones_own_have_to_be_there_and_enough_for_a_step(tmp_path: Path) -> None:
    (problem,) = dpo_problems(corpus(tmp_path, pairs={"test": 3}), preference())
    assert "the corpus came with test (3), and no stage collects some" in problem
    (problem,) = dpo_problems(corpus(tmp_path), preference(25))
    assert "dpo takes 25 examples a step, and the corpus has 24 to draw from" in problem


def test_an_evaluation_needs_items_and_two_of_each_suite(tmp_path: Path) -> None:
    (problem,) = evaluate_problems(corpus(tmp_path, **EMPTY), EvaluateRecipe())
    assert "no row of the split test" in problem
    pairs_alone = corpus(tmp_path, **EMPTY | {"pairs": {"test": 2}})
    assert evaluate_problems(pairs_alone, EvaluateRecipe()) == []
    single = corpus(tmp_path, suites={"asr": 1, "lid": 4, "sound": 1}, pairs={})
    assert evaluate_problems(single, EvaluateRecipe()) == []


def test_nothing_of_it_needs_torch() -> None:
    code = "import sys, tasks.corpus_problems; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
