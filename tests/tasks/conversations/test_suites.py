"""Evaluation suites made of the embedded corpus's labels."""

import json
from pathlib import Path

import pytest

from data_contracts.answer_records import EvaluationItem
from data_contracts.records import Clip, PackedClip
from tasks.conversations.dialogues import DialogueRecipe, make_dialogues
from tasks.conversations.suites import SuiteRecipe, make_suites
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.compose import ComposeRecipe, plan_compositions
from tasks.evaluation.metrics.table import METRICS
from tests.support.recordings import packed

TASKS = shipped_tasks()
RECIPE = SuiteRecipe(items=5)


@pytest.fixture(scope="module")
def corpus(small_manifest: Path) -> dict[str, PackedClip]:
    clips = [Clip(**json.loads(line)) for line in small_manifest.read_text().splitlines()]
    compose = ComposeRecipe(
        digit_strings={"train": 10, "test": 10}, spoken_commands={"train": 10, "test": 10}
    )
    made = plan_compositions(clips, TASKS, compose)
    rows = [packed(clip) for clip in clips]
    rows += [packed(m.clip, tuple(part.id for part in m.parts)) for m in made]
    return {row.id: row for row in rows}


@pytest.fixture(scope="module")
def suites(corpus: dict[str, PackedClip]) -> dict[str, list[EvaluationItem]]:
    return suites_of(list(corpus.values()))


def suites_of(
    clips: list[PackedClip], recipe: SuiteRecipe = RECIPE
) -> dict[str, list[EvaluationItem]]:
    dialogues = list(make_dialogues(clips, TASKS, DialogueRecipe(per_task=20)))
    return make_suites(clips, dialogues, TASKS, recipe)


def speech(name: str, **fields: object) -> PackedClip:
    values = {"id": name, "audio": "a", "targets": {"asr": name}, "language": "en"} | fields
    return packed(Clip.model_validate(values))


def test_the_corpus_gives_all_suites_with_at_most_the_asked_items(
    suites: dict[str, list[EvaluationItem]],
) -> None:
    assert set(suites) == {
        "asr", "s2tt", "lid", "digits", "sound", "caption", "vocal", "instrument", "family",
        "voice_chat", "spoken_command", "dual_mode",
    }  # fmt: skip
    for name, items in suites.items():
        assert 1 <= len(items) <= (10 if name == "dual_mode" else 5)
        assert {item.suite for item in items} == {name}
        assert len({item.conversation.id for item in items}) == len(items)


def test_only_test_clips_are_asked(
    suites: dict[str, list[EvaluationItem]], corpus: dict[str, PackedClip]
) -> None:
    for items in suites.values():
        for item in items:
            assert item.conversation.split == "test"
            for clip in item.conversation.clip_ids:
                assert corpus[clip].split == "test"
                assert {corpus[part].split for part in corpus[clip].origin} == {"test"}


def test_label_suites_have_the_closed_set_of_the_whole_corpus(
    suites: dict[str, list[EvaluationItem]], corpus: dict[str, PackedClip]
) -> None:
    for name in ("sound", "instrument", "family", "vocal", "lid", "voice_chat"):
        answers = {clip.targets.get(name) for clip in corpus.values()} - {None}
        for item in suites[name]:
            assert set(item.choices) == answers
            assert item.conversation.answer in item.choices
    for name in ("asr", "s2tt", "digits", "caption"):
        assert {item.choices for item in suites[name]} == {()}
    for item in suites["spoken_command"]:
        assert item.conversation.answer in item.choices


def test_metrics_are_those_that_the_published_evaluation_uses(
    suites: dict[str, list[EvaluationItem]],
) -> None:
    metrics = {name: {item.metric for item in items} for name, items in suites.items()}
    assert metrics == {
        "asr": {"cer"}, "s2tt": {"bleu"}, "caption": {"bleu"}, "digits": {"wer"},
        "lid": {"balanced_accuracy"}, "sound": {"balanced_accuracy"},
        "vocal": {"balanced_accuracy"}, "instrument": {"balanced_accuracy"},
        "family": {"balanced_accuracy"}, "voice_chat": {"accuracy"},
        "spoken_command": {"accuracy"}, "dual_mode": {"dual_mode"},
    }  # fmt: skip


def test_the_right_answers_have_the_best_score_in_every_suite(
    suites: dict[str, list[EvaluationItem]],
) -> None:
    for items in suites.values():
        metric = METRICS.named(items[0].metric)
        score = metric.aggregate(
            metric.statistics(items, [item.conversation.answer for item in items])
        )
        assert score == pytest.approx({"wer": 0, "cer": 0, "bleu": 100}.get(items[0].metric, 1))


def test_dual_mode_holds_the_spoken_items_of_both_modes_with_the_answers_of_their_mode(
    suites: dict[str, list[EvaluationItem]],
) -> None:
    items = suites["dual_mode"]
    spoken = suites["voice_chat"] + suites["spoken_command"]
    assert [item.conversation for item in items] == [item.conversation for item in spoken]
    choices = {item.conversation.mode: set(item.choices) for item in items}
    assert set(choices) == {"voice_chat", "audio_analysis"}
    for item in items:
        assert item.conversation.answer in choices[item.conversation.mode]
        assert item.conversation.turns[0].text == ""
    assert not choices["voice_chat"] & choices["audio_analysis"]


def test_digit_strings_are_asked_and_single_digits_and_spoken_questions_are_not(
    suites: dict[str, list[EvaluationItem]], corpus: dict[str, PackedClip]
) -> None:
    for item in suites["digits"]:
        assert item.conversation.clip_ids[0].startswith("digits-test-")
    for name in ("asr", "s2tt", "sound", "caption"):
        kinds = {corpus[item.conversation.clip_ids[0]].kind for item in suites[name]}
        assert not kinds & {"command", "question"}


def test_suites_are_a_function_of_their_input_and_the_seed_draws_others(
    suites: dict[str, list[EvaluationItem]], corpus: dict[str, PackedClip]
) -> None:
    clips = list(corpus.values())
    assert suites_of(clips) == suites
    assert suites_of(clips, RECIPE.model_copy(update={"seed": 1})) != suites


def test_the_prompt_is_the_published_one_in_the_clips_language(
    suites: dict[str, list[EvaluationItem]], corpus: dict[str, PackedClip]
) -> None:
    for item in suites["asr"]:
        language = corpus[item.conversation.clip_ids[0]].language
        expected = f"Detect the language and recognize the speech: <|{language}|>"
        assert item.conversation.turns[0].text == expected


def test_held_out_conversations_are_asked_for_their_last_answer() -> None:
    turns = [
        {"role": "user", "text": "Who calls?"},
        {"role": "assistant", "text": "A neighbour."},
        {"role": "user", "text": "Is she angry?"},
        {"role": "assistant", "text": "No, she is glad."},
    ]
    spoken = [{"role": "user"}, {"role": "assistant", "text": "At noon."}]
    clips = [
        speech("long", targets={}, conversation=turns, split="test"),
        speech("short", targets={}, conversation=spoken, split="test"),
        speech("learnt", targets={}, conversation=spoken),
    ]
    suites = suites_of(clips)
    assert list(suites) == ["conversation"]
    long, short = suites["conversation"]
    assert (long.conversation.answer, len(long.conversation.prompt)) == ("No, she is glad.", 3)
    assert (short.conversation.answer, short.conversation.clip_ids) == ("At noon.", ("short",))
    assert {long.metric, short.metric} == {"chrf"}


def test_user_data_gives_the_suites_that_it_can_answer() -> None:
    clips = [speech("a"), speech("b", split="test"), speech("c", split="test")]
    suites = suites_of(clips)
    assert list(suites) == ["asr"]
    assert [item.conversation.answer for item in suites["asr"]] == ["b", "c"]
    assert suites_of([speech("a")]) == {}
    assert suites_of([]) == {}
