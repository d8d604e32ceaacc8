"""Prompts: published ones, held-out ones that training never shows, and the predecessor's tags."""

from pathlib import Path

import pytest

from data_contracts.contract_result import ContractBreachError, enforce
from data_contracts.conversation_contracts import DIALOGUES
from data_contracts.conversation_tables import dialogues_frame
from data_contracts.records import Clip, Conversation, PackedClip, Turn
from data_contracts.validation import validate
from infra.storage.store import Store
from model.tokenizer import train_tokenizer
from tasks.conversations.dialogues import DialogueRecipe, make_dialogues
from tasks.conversations.prompts import (
    TWO_CLIPS_QUESTION,
    evaluation_prompt,
    held_out_fragments,
    training_prompts,
)
from tasks.conversations.suites import SuiteRecipe, make_suites
from tasks.conversations.tags import tag_names, tag_prompt
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.index import CorpusIndex
from tasks.corpus.shards import write_index
from tasks.initial_model.build import training_texts
from tasks.training_data.examples import ClipTable, completion_examples
from tests.support.recordings import packed

QUESTION = "Which animal is it?\nA. a cat\nB. a dog"
TASKS = shipped_tasks()
ANSWERS = {task: f"about {task}" for task in TASKS.asked_in_words}
ANSWERS["choice"] = "B. a dog"


def clip(name: str = "c", task: str | None = None, **fields: object) -> PackedClip:
    targets = ANSWERS if task is None else {task: ANSWERS[task]}
    values = {"id": name, "audio": "a", "targets": targets, "language": "fr", "question": QUESTION}
    return packed(Clip.model_validate(values | fields))


@pytest.mark.parametrize(
    ("task", "published"),
    [
        ("asr", "Detect the language and recognize the speech: <|fr|>"),
        ("s2tt", "Detect the language and translate the speech into English: <|fr|>"),
        ("ser", "Recognize the emotion with keywords in English:"),
        ("vocal", "Classify the human vocal sound to VocalSound in English:"),
        ("caption", "Generate the caption in English:"),
    ],
)
def test_evaluation_asks_with_the_published_prompt(task: str, published: str) -> None:
    assert evaluation_prompt(TASKS, task, clip()) == published


def test_a_translation_is_asked_for_in_the_language_of_its_target() -> None:
    into = clip(language="en", target_language="zh")
    assert evaluation_prompt(TASKS, "s2tt", into) == (
        "Detect the language and translate the speech into Mandarin: <|en|>"
    )
    into_german = clip(language="en", target_language="de")
    assert all("German" in text for text in training_prompts(TASKS, "s2tt", into_german))


def test_speech_of_an_unknown_language_is_asked_for_without_naming_one() -> None:
    unknown = clip(language=None)
    assert training_prompts(TASKS, "asr", unknown) == (
        "Detect the language and recognize the speech:",
        "Transcribe the speech:",
        "Write down what is said:",
    )
    assert evaluation_prompt(TASKS, "asr", unknown, "held_out") in (
        "Turn the speech into text:",
        "What is said word for word?",
    )
    assert evaluation_prompt(TASKS, "s2tt", unknown) == (
        "Detect the language and translate the speech into English:"
    )
    assert tag_prompt(TASKS, "asr", unknown) == (
        "<|startoftranscript|><|unknown|><|transcribe|><|unknown|><|notimestamps|><|wo_itn|>"
    )


def test_every_task_that_is_asked_in_words_has_paraphrases_and_held_out_prompts() -> None:
    assert set(TASKS.asked_in_words) == set(TASKS) - {"voice_chat"}
    for spec in map(TASKS.__getitem__, TASKS.asked_in_words):
        assert len(spec.paraphrases) >= 2
        assert len(spec.held_out) >= 2
        texts = (*spec.training_prompts, *spec.held_out)
        assert len(set(texts)) == len(texts)


def test_no_training_example_shows_a_held_out_prompt(tmp_path: Path) -> None:
    clips = [clip(f"{task}-{n}", task) for task in ANSWERS for n in range(8)]
    write_index(Store(str(tmp_path)), clips)
    index = CorpusIndex(Store(str(tmp_path)))
    training_set = completion_examples(index, ClipTable.of(index, TASKS), TASKS, "natural")
    examples, table = training_set.examples, training_set.table
    assert set(table.task.names) == set(TASKS.asked_in_words)
    shown = [d.turns[0].text.lower() for n in range(len(examples)) for d in examples[n]]
    shown += [
        turn.text.lower()
        for d in make_dialogues(clips, TASKS, DialogueRecipe())
        for turn in d.turns
    ]
    shown += [text.lower() for text in training_texts(clips, [], TASKS, "natural")]
    shown += [text.lower() for spec in TASKS.values() for text in spec.questions]
    shown.append(TWO_CLIPS_QUESTION.lower())
    for fragment in held_out_fragments(TASKS):
        assert len(fragment) >= 10
        assert not [text for text in shown if fragment.lower() in text]


def test_suites_ask_with_held_out_prompts_or_tags_where_the_recipe_says_so() -> None:
    clips = [clip(f"{task}-{n}", task, split="test") for task in ANSWERS for n in range(16)]
    made = {
        style: make_suites(clips, [], TASKS, SuiteRecipe(items=16, asked_with=style))
        for style in ("canonical", "held_out", "tags")
    }
    for task in TASKS.asked_in_words:
        asked = {
            style: {item.conversation.turns[0].text for item in suites[task]}
            for style, suites in made.items()
        }
        assert len(asked["canonical"]) == len(asked["tags"]) == 1
        assert len(asked["held_out"]) == len(TASKS[task].held_out)
        assert not asked["held_out"] & {
            *training_prompts(TASKS, task, clips[0]),
            *asked["canonical"],
        }
        references = [item.conversation.answer for item in made["tags"][task]]
        assert references == [item.conversation.answer for item in made["canonical"][task]]


@pytest.mark.parametrize(("split", "is_refused"), [("train", True), ("dev", True), ("test", False)])
def test_a_users_dialogue_with_a_held_out_prompt_breaks_the_contract(
    split: str, is_refused: bool
) -> None:
    asked = f"Please: {TASKS['sound'].held_out[0].upper()}"
    turns = (Turn(role="user", text=asked, audio=("c",)), Turn(role="assistant", text="a dog"))
    values = {"id": "d", "format": "chat", "turns": turns, "task": "sound", "split": split}
    dialogue = Conversation.model_validate(values | {"mode": "audio_analysis"})
    frame = dialogues_frame([dialogue], {"c"}, held_out_fragments(TASKS))
    result = validate(DIALOGUES, frame, "dialogues")
    if not is_refused:
        enforce(result)
        return
    with pytest.raises(ContractBreachError, match=r"held_out_prompts_are_for_evaluation") as caught:
        enforce(result)
    assert "State what makes this sound" in str(caught.value)


@pytest.mark.parametrize(
    ("task", "tags"),
    [
        ("asr", "<|startoftranscript|><|fr|><|transcribe|><|fr|><|notimestamps|><|wo_itn|>"),
        ("s2tt", "<|startoftranscript|><|fr|><|translate|><|en|><|notimestamps|><|itn|>"),
        (
            "caption",
            "<|startofanalysis|><|unknown|><|caption|><|en|><|notimestamps|><|caption_clotho|>",
        ),
        (
            "ser",
            "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|emotion_recognition|>",
        ),
        (
            "vocal",
            "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|vocal_classification|>",
        ),
        ("choice", f"<|startofanalysis|><|en|><|question|>{QUESTION}<|answer|>"),
    ],
)
def test_tags_are_those_of_the_predecessors_evaluation(task: str, tags: str) -> None:
    asked = clip(source="clotho")
    assert tag_prompt(TASKS, task, asked) == tags
    assert training_prompts(TASKS, task, asked, "tags") == (tags,)
    assert evaluation_prompt(TASKS, task, asked, "tags") == tags


def test_tags_are_single_tokens_of_a_tokenizer_that_has_them() -> None:
    asked = clip()
    tokenizer = train_tokenizer(["some text"], 400, sorted({"fr", *tag_names(TASKS)}))
    for task in TASKS.asked_in_words:
        if task != "choice":
            text = tag_prompt(TASKS, task, asked)
            assert len(tokenizer.encode(text)) == text.count("<|")


def test_a_choice_without_a_question_is_refused() -> None:
    with pytest.raises(ValueError, match="choice needs a question that lists the choices"):
        Clip.model_validate({"id": "a", "audio": "a", "targets": {"choice": "A. x"}})
