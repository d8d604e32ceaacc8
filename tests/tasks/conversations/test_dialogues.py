"""Dialogues and prompts made of the embedded corpus's labels."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from data_contracts.records import Clip, Conversation, PackedClip, Turn
from tasks.conversations.dialogues import (
    DialogueRecipe,
    completion,
    make_dialogues,
    make_preference_prompts,
    single_turn,
)
from tasks.conversations.task_table import TaskSpec, shipped_tasks
from tasks.corpus.compose import ComposeRecipe, plan_compositions
from tests.support.recordings import packed

TASKS = shipped_tasks()
RECIPE = DialogueRecipe(per_task=8, multi_turn=40, two_clips=7, prompts={"train": 20, "test": 10})
ENGINE = {"kind": "label", "prompt": "Name the engine:"}
COMPOSE = ComposeRecipe(
    digit_strings={"train": 10, "dev": 5, "test": 10},
    spoken_commands={"train": 10, "dev": 5, "test": 10},
)


@pytest.fixture(scope="module")
def corpus(small_manifest: Path) -> dict[str, PackedClip]:
    clips = [Clip(**json.loads(line)) for line in small_manifest.read_text().splitlines()]
    rows = [packed(clip) for clip in clips]
    rows += [
        packed(made.clip, tuple(part.id for part in made.parts))
        for made in plan_compositions(clips, TASKS, COMPOSE)
    ]
    return {row.id: row for row in rows}


@pytest.fixture(scope="module")
def dialogues(corpus: dict[str, PackedClip]) -> list[Conversation]:
    return list(make_dialogues(list(corpus.values()), TASKS, RECIPE))


def speech(name: str, **fields: object) -> PackedClip:
    values = {"id": name, "audio": "a", "targets": {"asr": name}, "language": "en"} | fields
    return packed(Clip.model_validate(values))


def test_both_modes_are_there_in_every_split_that_is_asked(
    dialogues: list[Conversation],
) -> None:
    found = {(dialogue.split, dialogue.mode) for dialogue in dialogues}
    assert found >= {(s, m) for s in ("train", "test") for m in ("voice_chat", "audio_analysis")}


def test_user_and_assistant_alternate_and_no_system_prompt_tells_the_mode(
    dialogues: list[Conversation],
) -> None:
    for dialogue in dialogues:
        roles = [turn.role for turn in dialogue.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert dialogue.answer.strip()
        assert all(not turn.audio for turn in dialogue.turns if turn.role == "assistant")
        assert all(turn.audio for turn in dialogue.turns if turn.role == "user")
    texts = {turn.text for d in dialogues for turn in d.turns if turn.role == "user"}
    questions = {text for spec in TASKS.values() for text in spec.questions}
    prompts = ("Detect the language and ", "Transcribe the ", "Write ", "Translate the speech ")
    for text in texts - questions - {"", "What are these two recordings?"}:
        assert text.startswith(prompts)
        assert text.endswith("|>")


def test_a_dialogue_and_all_of_its_clips_belong_to_one_split(
    dialogues: list[Conversation], corpus: dict[str, PackedClip]
) -> None:
    for dialogue in dialogues:
        assert {corpus[clip].split for clip in dialogue.clip_ids} == {dialogue.split}


def test_ids_are_unique(dialogues: list[Conversation]) -> None:
    assert len({dialogue.id for dialogue in dialogues}) == len(dialogues)


def test_spoken_questions_and_commands_have_no_text_and_answer_what_is_spoken(
    dialogues: list[Conversation], corpus: dict[str, PackedClip]
) -> None:
    spoken = [d for d in dialogues if d.task in ("voice_chat", "spoken_command")]
    assert {d.task for d in spoken} == {"voice_chat", "spoken_command"}
    for dialogue in spoken:
        assert dialogue.turns[0].text == ""
        clip = corpus[dialogue.clip_ids[0]]
        if dialogue.task == "voice_chat":
            assert dialogue.answer == clip.targets["voice_chat"]
        elif clip.phrase == "what sound is this":
            assert dialogue.answer == f"This is the sound of {clip.targets['sound']}."
        elif clip.phrase == "what instrument is playing":
            assert dialogue.answer == f"This is the {clip.targets['instrument']}."


@pytest.mark.parametrize(
    ("phrase", "targets", "answer"),
    [
        ("what sound is this", {"sound": "water"}, "This is the sound of water."),
        ("describe the sound", {"caption": "A bell rings."}, "A bell rings."),
        ("is this a person or an animal", {"sound": "bird"}, "It is an animal."),
        ("is this a person or an animal", {"sound": "vocal"}, "It is a person."),
        ("is this a person or an animal", {"sound": "water"}, None),
        ("what instrument is playing", {"sound": "water"}, None),
        (None, {"sound": "water"}, None),
    ],
)
def test_a_command_is_answered_by_the_sound_below_it_or_not_at_all(
    phrase: str | None, targets: dict[str, str], answer: str | None
) -> None:
    clip = speech("c", kind="command", phrase=phrase, targets=targets)
    assert [d.answer for d in single_turn(clip, TASKS)] == ([answer] if answer else [])


def test_two_exchanges_are_two_single_ones_behind_one_another(
    dialogues: list[Conversation],
) -> None:
    multi = [d for d in dialogues if d.task == "multi_turn"]
    singles: dict[tuple[Turn, ...], Conversation] = {
        d.turns: d for d in dialogues if len(d.turns) == 2
    }
    assert len(multi) == 40
    switches = 0
    for dialogue in multi:
        assert dialogue.split == "train"
        first, second = singles[dialogue.turns[:2]], singles[dialogue.turns[2:]]
        assert first != second
        assert dialogue.mode == second.mode
        switches += first.mode != second.mode
    assert switches > 0


def test_two_clips_are_named_in_the_order_in_which_they_are_heard(
    dialogues: list[Conversation], corpus: dict[str, PackedClip]
) -> None:
    pairs = [d for d in dialogues if d.task == "two_clips"]
    assert len(pairs) == 7
    for dialogue in pairs:
        first, second = (corpus[clip].targets["sound"] for clip in dialogue.clip_ids)
        assert len(set(dialogue.clip_ids)) == 2
        assert dialogue.answer == f"The first is {first}, the second is {second}."


def test_a_task_has_at_most_per_task_dialogues_in_a_split(
    dialogues: list[Conversation],
) -> None:
    singles = [d for d in dialogues if d.task not in ("multi_turn", "two_clips")]
    groups = {(d.split, d.task) for d in singles}
    sizes = {group: sum((d.split, d.task) == group for d in singles) for group in groups}
    assert max(sizes.values()) == 8
    assert ("train", "sound") in sizes


def test_single_digits_serve_in_strings_only(
    dialogues: list[Conversation], corpus: dict[str, PackedClip]
) -> None:
    heard = {corpus[d.clip_ids[0]].id for d in dialogues if d.task == "digits"}
    assert heard
    assert all(name.startswith("digits-") for name in heard)


def test_dialogues_are_a_function_of_corpus_and_recipe(
    dialogues: list[Conversation], corpus: dict[str, PackedClip]
) -> None:
    assert list(make_dialogues(list(corpus.values()), TASKS, RECIPE)) == dialogues
    other = list(
        make_dialogues(list(corpus.values()), TASKS, RECIPE.model_copy(update={"seed": 1}))
    )
    assert other != dialogues


def test_preference_prompts_are_single_exchanges_with_a_reference_even_over_tasks(
    dialogues: list[Conversation],
) -> None:
    prompts = make_preference_prompts(dialogues, RECIPE)
    assert {prompt.split for prompt in prompts} == {"train", "test"}
    for prompt in prompts:
        assert prompt in dialogues
        assert len(prompt.turns) == 2
        assert prompt.answer
    for split, count in RECIPE.prompts.items():
        available = {d.task for d in dialogues if d.split == split and len(d.turns) == 2}
        by_task = {t: sum(p.task == t and p.split == split for p in prompts) for t in available}
        assert set(by_task.values()) <= set(range(1, -(-count // len(available)) + 1))


def test_user_data_without_sounds_or_questions_gives_fewer_kinds_and_no_failure() -> None:
    clips = [speech("a"), speech("b", targets={"asr": "b", "lid": "English"})]
    recipe = RECIPE.model_copy(update={"multi_turn": 2})
    dialogues = list(make_dialogues(clips, TASKS, recipe))
    assert [d.task for d in dialogues] == ["asr", "asr", "lid", "multi_turn", "multi_turn"]
    assert list(make_dialogues([], TASKS, RECIPE)) == []
    assert make_preference_prompts([], RECIPE) == []


def test_a_task_without_chat_questions_is_asked_for_with_its_prompts() -> None:
    transcripts = [speech("a" * length) for length in (1, 2, 3)]
    asked = [d for d in make_dialogues(transcripts, TASKS, RECIPE) if d.task == "asr"]
    assert [dialogue.turns[0].text for dialogue in asked] == [
        "Transcribe the speech: <|en|>",
        "Write down what is said: <|en|>",
        "Detect the language and recognize the speech: <|en|>",
    ]
    assert [dialogue.answer for dialogue in asked] == ["a", "aa", "aaa"]
    assert {dialogue.mode for dialogue in asked} == {"audio_analysis"}
    engine = TASKS.with_declared({"engine": TaskSpec.model_validate(ENGINE)})
    (dialogue,) = single_turn(speech("b", targets={"engine": "diesel"}), engine)
    assert (dialogue.turns[0].text, dialogue.answer) == ("Name the engine:", "diesel")


def test_a_task_has_no_more_dialogues_than_its_own_limit() -> None:
    clips = [speech(str(n), targets={"asr": "a", "lid": "English"}) for n in range(6)]
    limited = RECIPE.model_copy(update={"limits": {"asr": 0, "lid": 2}, "multi_turn": 0})
    assert [d.task for d in make_dialogues(clips, TASKS, limited)] == ["lid", "lid"]


def test_completions_ask_in_the_language_of_the_clip_and_answer_with_the_target() -> None:
    clip = speech("a", targets={"asr": "Guten Tag", "lid": "German"}, language="de")
    asked = completion(clip, "asr", "Transcribe the speech: <|de|>")
    assert asked.format == "completion"
    assert asked.clip_ids == ("a",)
    assert asked.answer == "Guten Tag"


@pytest.mark.parametrize("name", ["per_task", "multi_turn", "two_clips"])
def test_negative_counts_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        DialogueRecipe.model_validate({name: -1})
    with pytest.raises(ValidationError, match="prompts"):
        DialogueRecipe.model_validate({"prompts": {"train": -1}})


def test_a_users_own_conversation_becomes_a_dialogue_that_hears_its_recording() -> None:
    row = Clip.model_validate(
        {
            "id": "call-1",
            "audio": "call-1.wav",
            "conversation": [
                {"role": "user", "text": "Who is calling?"},
                {"role": "assistant", "text": "A neighbour."},
                {"role": "user", "text": "Is she angry?"},
                {"role": "assistant", "text": "No."},
            ],
        }
    )
    (dialogue,) = make_dialogues([packed(row)], TASKS, RECIPE)
    assert (dialogue.task, dialogue.mode) == ("conversation", "audio_analysis")
    assert dialogue.clip_ids == ("call-1",)
    assert [turn.text for turn in dialogue.turns] == [turn.text for turn in row.conversation]


def test_a_conversation_that_names_its_clips_keeps_them() -> None:
    turns = (
        Turn(role="user", text="Which is louder?", audio=("a", "b")),
        Turn(role="assistant", text="The second."),
    )
    (dialogue,) = make_dialogues(
        [packed(Clip(id="a", audio="a", conversation=turns))], TASKS, RECIPE
    )
    assert dialogue.turns == turns


def test_a_row_without_targets_and_conversation_is_refused() -> None:
    with pytest.raises(ValidationError, match="give task and text, targets, or a conversation"):
        Clip(id="a", audio="a.wav")
