"""Ranking and pair making, without a model."""

from pathlib import Path

import jiwer
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.contract_result import enforce
from data_contracts.jsonl import to_jsonl
from data_contracts.records import Conversation, Turn
from infra.storage.kept_files import write_kept
from infra.storage.store import Store
from tasks.collect_preferences import (
    CollectRecipe,
    NoPairsError,
    SampledAnswers,
    check,
    make_pairs,
    run,
)
from tasks.conversations.task_table import TaskSpec, shipped_tasks
from tasks.corpus.pairs import read_pairs
from tasks.evaluation.ranking import AnswerAccuracy, TextOverlap, ranker_of
from tests.support.recordings import stage_context


def prompt(reference: str = "the answer", name: str = "p", split: str = "train") -> Conversation:
    turns = (
        Turn(role="user", text="What?", audio=("clip",)),
        Turn(role="assistant", text=reference),
    )
    values = {"id": name, "format": "chat", "turns": turns, "task": "sound", "split": split}
    return Conversation.model_validate(values | {"mode": "audio_analysis"})


class Table:
    """A ranker whose scores are given."""

    name = "table"

    def __init__(self, scores: dict[str, float]) -> None:
        self.known = scores

    def scores(self, _: Conversation, answers: list[str]) -> list[float]:
        return [self.known[answer] for answer in answers]


def pairs_of(
    scores: dict[str, float], answers: list[str], **recipe: float
) -> list[tuple[str, str]]:
    answered = SampledAnswers(prompt=prompt(), answers=tuple(answers))
    made = make_pairs(answered, Table(scores), CollectRecipe.model_validate(recipe))
    return [(pair.chosen, pair.rejected) for pair in made.pairs]


@pytest.mark.parametrize(
    ("reference", "answer", "score"),
    [
        ("The digits are 3 7.", "The digits are 3 7.", 1.0),
        ("The digits are 3 7.", "the digits are 3 7", 1.0),
        ("a b c d", "a b c x", (3 / 4 + 6 / 7) / 2),
        ("a b", "", 0.0),
        ("a", "x y z w", 0.0),
    ],
)
def test_answer_accuracy_by_hand(reference: str, answer: str, score: float) -> None:
    assert AnswerAccuracy().scores(prompt(reference), [answer]) == [pytest.approx(score)]


WORDS = st.lists(st.sampled_from(["rain", "wind", "dog", "dogs", "a"]), min_size=1, max_size=5)


@given(reference=WORDS, answer=WORDS)
def test_answer_accuracy_is_the_mean_of_what_jiwer_leaves(
    reference: list[str], answer: list[str]
) -> None:
    truth, given_answer = " ".join(reference), " ".join(answer)
    (score,) = AnswerAccuracy().scores(prompt(truth), [given_answer])
    wer, cer = jiwer.wer(truth, given_answer), jiwer.cer(truth, given_answer)
    assert score == pytest.approx((max(0, 1 - wer) + max(0, 1 - cer)) / 2)
    assert 0 <= score <= 1


def test_a_misspelt_word_beats_another_word_and_both_beat_the_wrong_mode() -> None:
    answers = ["This is the sound of rainn.", "This is the sound of a door.", "Paris."]
    spelt, other, wrong = AnswerAccuracy().scores(prompt("This is the sound of rain."), answers)
    assert 1 > spelt > other > wrong


def test_a_reference_of_punctuation_only_is_scored_without_failing() -> None:
    assert AnswerAccuracy().scores(prompt("?!"), ["?", "x"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("asr", "answer_accuracy"),
        ("sound", "answer_accuracy"),
        ("choice", "answer_accuracy"),
        ("spoken_command", "answer_accuracy"),
        ("s2tt", "chrf"),
        ("caption", "chrf"),
        ("conversation", "chrf"),
        ("poem", "chrf"),
        ("engine", "answer_accuracy"),
    ],
)
def test_the_metric_of_a_task_decides_who_ranks_its_answers(task: str, name: str) -> None:
    declared = {
        "poem": {"kind": "text", "prompt": "Recite it:", "metric": "chrf"},
        "engine": {"kind": "label", "prompt": "Name the engine:"},
    }
    specs = {key: TaskSpec.model_validate(entry) for key, entry in declared.items()}
    ranker = ranker_of(task, shipped_tasks().with_declared(specs))
    assert ranker.name == name
    scores = ranker.scores(prompt("A dog barks."), ["A dog barks.", "A dog howls.", "", "Paris"])
    assert scores[0] == pytest.approx(1)
    assert 1 > scores[1] > scores[3] >= scores[2] == 0


def test_free_texts_are_ranked_by_sacrebleus_chrf() -> None:
    reference, answer = "The old dog barks at night.", "At night the dog barks."
    expected = sacrebleu.sentence_chrf(answer, [reference]).score / 100
    assert TextOverlap().scores(prompt(reference), [answer]) == [pytest.approx(expected)]


def test_the_best_answer_is_chosen_against_the_worst_with_the_largest_margin_first() -> None:
    scores = {"bad": 0.1, "good": 0.9, "middle": 0.5, "worst": 0.0}
    assert pairs_of(scores, list(scores)) == [("good", "worst"), ("good", "bad")]
    assert pairs_of(scores, list(scores), pairs_per_prompt=9) == [
        ("good", "worst"), ("good", "bad"), ("good", "middle")
    ]  # fmt: skip


def test_pairs_carry_the_scores_the_ranker_and_the_prompt_without_its_answer() -> None:
    answered = SampledAnswers(prompt=prompt(split="test"), answers=("good", "bad"))
    made = make_pairs(answered, Table({"good": 0.9, "bad": 0.1}), CollectRecipe())
    (pair,) = made.pairs
    assert (pair.chosen_score, pair.rejected_score, pair.ranker) == (0.9, 0.1, "table")
    assert pair.margin == pytest.approx(0.8)
    assert pair.prompt.turns == answered.prompt.turns[:1]
    assert (pair.id, pair.split) == ("p#0", "test")
    assert not made.tied


@pytest.mark.parametrize(
    ("scores", "recipe"),
    [
        ({"a": 0.6, "b": 0.6}, {}),
        ({"a": 0.6, "b": 0.59}, {"min_margin": 0.02}),
        ({"a": 0.49, "b": 0.0}, {"min_chosen_score": 0.5}),
        ({"a": 0.6}, {}),
        ({}, {}),
    ],
    ids=["equal", "too close", "best is bad", "one answer", "no answer"],
)
def test_a_tie_gives_no_pair_and_is_counted(
    scores: dict[str, float], recipe: dict[str, float]
) -> None:
    answered = SampledAnswers(prompt=prompt(), answers=tuple(scores) or ("", " "))
    made = make_pairs(answered, Table(scores), CollectRecipe.model_validate(recipe))
    assert made.pairs == ()
    assert made.tied


def test_repeated_answers_are_counted_and_take_part_once_and_empty_ones_not_at_all() -> None:
    answers = ("good", "bad", " bad ", "good", "", "bad")
    answered = SampledAnswers(prompt=prompt(), answers=answers)
    made = make_pairs(answered, Table({"good": 0.9, "bad": 0.1}), CollectRecipe())
    assert [(pair.chosen, pair.rejected) for pair in made.pairs] == [("good", "bad")]
    assert made.duplicates == 3


@given(
    scores=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0, 1), max_size=8),
    min_margin=st.floats(0, 0.5),
    per_prompt=st.integers(1, 4),
)
def test_a_chosen_answer_is_always_clearly_better_than_the_rejected_one(
    scores: dict[str, float], min_margin: float, per_prompt: int
) -> None:
    answered = SampledAnswers(prompt=prompt(), answers=tuple(scores))
    recipe = CollectRecipe(min_margin=min_margin, pairs_per_prompt=per_prompt)
    pairs = make_pairs(answered, Table(scores), recipe).pairs
    assert len(pairs) <= per_prompt
    for pair in pairs:
        assert pair.margin > min_margin
        assert pair.chosen_score == max(scores.values()) >= recipe.min_chosen_score
    assert len({pair.id for pair in pairs}) == len({pair.rejected for pair in pairs}) == len(pairs)


def answered_corpus(tmp_path: Path, answers: list[tuple[str, ...]]) -> Path:
    """A corpus of prompts whose answers are all sampled and saved, two prompts a chunk."""
    prompts = [prompt("the answer", f"p{number}") for number in range(len(answers))]
    Store(str(tmp_path / "corpus")).write_text("prompts.jsonl", to_jsonl(prompts))
    sampled = [
        SampledAnswers(prompt=p, answers=found) for p, found in zip(prompts, answers, strict=True)
    ]
    out = Store(str(tmp_path / "out"))
    for number in range(0, len(sampled), 2):
        key = f"scratch/answers-{number // 2:05d}.jsonl"
        write_kept(out, key, to_jsonl(sampled[number : number + 2]).encode())
    return tmp_path / "out"


def collect(tmp_path: Path, out: Path) -> object:
    inputs = {name: Store(str(tmp_path / name)) for name in ("corpus", "checkpoint")}
    return run(stage_context(out, inputs), CollectRecipe(prompts_per_chunk=2))


def test_chunks_that_are_there_are_not_sampled_again(tmp_path: Path) -> None:
    answers = [("the answer", "no"), ("no", "no"), ("the answer", "an answer", "no")]
    out = answered_corpus(tmp_path, answers)
    result = collect(tmp_path, out)  # there is no checkpoint to sample from
    pairs = read_pairs(Store(str(out)))
    assert [(pair.id, pair.rejected) for pair in pairs] == [
        ("p0#0", "no"), ("p2#0", "no"), ("p2#1", "an answer")
    ]  # fmt: skip
    assert (result.records_in, result.records_out, result.rejected) == (3, 3, 1)  # type: ignore[attr-defined]
    assert result.metrics == {"ties": 1, "duplicate_answers": 1, "pairs": 3}  # type: ignore[attr-defined]
    for contract in check(Store(str(out))):
        enforce(contract)


def test_prompts_without_any_pair_stop_the_stage_with_what_to_change(tmp_path: Path) -> None:
    out = answered_corpus(tmp_path, [("no", "no"), ("never", "no")])
    with pytest.raises(NoPairsError, match=r"2 prompts .*0\.9.* collect_preferences\.num_samples"):
        collect(tmp_path, out)
