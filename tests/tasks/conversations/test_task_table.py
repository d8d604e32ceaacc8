"""The table of tasks: short entries, and what is refused of them with which words."""

import pytest

from data_contracts.records import Clip
from tasks.conversations.prompts import check_held_out, training_prompts
from tasks.conversations.tags import tag_names, tag_prompt
from tasks.conversations.task_table import TaskError, TaskTable, parse_tasks, shipped_tasks
from tests.support.recordings import packed

ENGINE = 'engine: {kind: label, prompt: "Name the engine:", choices: [diesel, electric]}'


def table(text: str) -> TaskTable:
    return shipped_tasks().with_declared(parse_tasks(text, "tasks.yaml"))


@pytest.mark.parametrize(
    ("kind", "metric", "whole"),
    [
        ("transcript", "wer", True),
        ("label", "balanced_accuracy", False),
        ("text", "bleu", False),
    ],
)
def test_metric_and_cutting_follow_from_the_kind_of_answer_unless_they_are_given(
    kind: str, metric: str, whole: bool
) -> None:
    short = table(f'new: {{kind: {kind}, prompt: "Say it:"}}')["new"]
    assert (short.metric, short.whole_recording) == (metric, whole)
    given = f'new: {{kind: {kind}, prompt: "Say it:", metric: cer, whole_recording: {not whole}}}'
    assert table(given)["new"].metric == "cer"
    assert table(given)["new"].whole_recording is not whole


def test_the_shipped_tasks_score_and_cut_as_they_always_did() -> None:
    tasks = shipped_tasks()
    assert {name: spec.metric for name, spec in tasks.items()} == {
        "asr": "cer", "s2tt": "bleu", "caption": "bleu", "digits": "wer", "choice": "choice",
        "lid": "balanced_accuracy", "sound": "balanced_accuracy", "vocal": "balanced_accuracy",
        "instrument": "balanced_accuracy", "family": "balanced_accuracy", "ser": "accuracy",
        "voice_chat": "accuracy",
    }  # fmt: skip
    assert tasks.about_the_whole == {"asr", "s2tt", "digits", "voice_chat", "choice"}


def test_a_table_that_is_written_is_read_again_in_its_order() -> None:
    tasks = table(ENGINE)
    again = TaskTable.from_json(tasks.to_json())
    assert again == tasks
    assert list(again) == [*shipped_tasks(), "engine"]


def test_a_declared_task_takes_the_place_of_the_shipped_one_of_its_name() -> None:
    tasks = table('ser: {kind: label, prompt: "How does it sound?", choices: [calm, angry]}')
    assert list(tasks) == list(shipped_tasks())
    assert tasks["ser"].prompt == "How does it sound?"
    assert tasks["ser"].metric == "balanced_accuracy"
    assert tasks["sound"] == shipped_tasks()["sound"]


def test_a_task_without_tags_is_asked_with_a_keyword_of_its_name() -> None:
    tasks = table(ENGINE)
    clip = packed(Clip(id="a", audio="a", targets={"engine": "diesel"}))
    tags = "<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|><|engine|>"
    assert tag_prompt(tasks, "engine", clip) == tags
    assert training_prompts(tasks, "engine", clip, "tags") == (tags,)
    assert set(tag_names(tasks)) - set(tag_names(shipped_tasks())) == {"engine"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[engine]", r"tasks.yaml declares no tasks: .*valid dictionary"),
        ("a: [", r"tasks.yaml is no YAML"),
        ('Engine: {kind: label, prompt: "x"}', r"Engine.*should match pattern"),
        ("engine: {kind: label}", r"engine.prompt: Field required"),
        ('engine: {prompt: "Name it:"}', r"engine.kind: Field required"),
        ('engine: {kind: sort, prompt: "x"}', r"engine.kind: .*'transcript', 'label' or 'text'"),
        ('engine: {kind: label, prompt: "x", colour: red}', r"engine.colour: Extra inputs"),
        ('engine: {kind: text, prompt: "x", choices: [a]}', r"choices are for kind label"),
        ("engine: {kind: text, prompt: null, questions: [x]}", r"the recording itself asks"),
        ('engine: {kind: text, prompt: "In {tongue}:"}', r"has {tongue}; .*{language}"),
        ('engine: {kind: text, prompt: "A { brace"}', r"can't be filled"),
        ('engine: {kind: text, prompt: "x", answer: "It is {label}."}', r"{label}; .*{answer}"),
        ('engine: {kind: text, prompt: "x", held_out: ["x"]}', r"can't be held out"),
        ('engine: {kind: text, prompt: "x", held_out: ["{question}"]}', r"no words of its own"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused_by_task_field_and_rule(
    text: str, rule: str
) -> None:
    with pytest.raises(TaskError, match=rule):
        parse_tasks(text, "tasks.yaml")


@pytest.mark.parametrize("name", ["conversation", "multi_turn", "dual_mode", "preference"])
def test_the_names_of_mixed_dialogues_and_suites_are_taken(name: str) -> None:
    with pytest.raises(TaskError, match=f"no task can be named {name}: .*Rename it"):
        table(f'{name}: {{kind: text, prompt: "x"}}')


def test_an_unknown_name_is_refused_with_the_known_ones_and_a_declaration_that_works() -> None:
    with pytest.raises(TaskError) as caught:
        table(ENGINE).require(["asr", "song"], "pretrain.mixture")
    reason, _, example = str(caught.value).partition(" as\n")
    assert "pretrain.mixture: there is no task 'song'; there are asr, s2tt, " in reason
    assert ", engine." in reason
    assert "data.tasks in the profile" in reason
    assert "tasks.yaml beside the manifest" in reason
    assert len(example.splitlines()) == 2
    table(example).require(["asr", "song"], "pretrain.mixture")


def test_labels_that_are_no_choice_and_prompts_without_their_question_are_told() -> None:
    tasks = table(f'{ENGINE}\nasked: {{kind: text, prompt: "{{question}}"}}')

    def problem(**fields: object) -> str | None:
        return tasks.problem(Clip.model_validate({"id": "a", "audio": "a", **fields}))

    assert problem(targets={"engine": "diesel", "asr": "Go."}) is None
    assert problem(targets={"engine": "steam"}) == (
        "targets.engine: 'steam' is none of diesel, electric"
    )
    assert problem(targets={"asked": "yes"}, question="Is it on?") is None
    assert "has no question" in (problem(targets={"asked": "yes"}) or "")


def test_held_out_prompts_are_asked_for_before_any_work() -> None:
    check_held_out(shipped_tasks(), "held_out")
    check_held_out(table(ENGINE), "canonical")
    with pytest.raises(TaskError, match=r"asked_with is held_out, and engine has no held_out"):
        check_held_out(table(ENGINE), "held_out")
