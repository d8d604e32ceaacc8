"""What preferences are collected on: prompts of all tasks, by weights, and pairs of one's own."""

from collections import Counter

import pytest

from data_contracts.records import Clip, PackedClip, Turn
from tasks.conversations.dialogues import DialogueRecipe, make_dialogues, make_preference_prompts
from tasks.conversations.given import given_pair, preferred
from tasks.conversations.task_table import TaskError, shipped_tasks
from tests.support.recordings import packed

TASKS = shipped_tasks()
RECIPE = DialogueRecipe()


def speech(name: str, **fields: object) -> PackedClip:
    values = {"id": name, "audio": "a", "targets": {"asr": name}, "language": "en"} | fields
    return packed(Clip.model_validate(values))


def test_preference_prompts_come_from_every_task_or_by_weights() -> None:
    targets = {"asr": "a", "s2tt": "b", "lid": "English", "caption": "c", "sound": "dog"}
    talk = [{"role": "user"}, {"role": "assistant", "text": "Hello."}]
    clips = [speech(f"clip {n}", targets=targets, conversation=talk) for n in range(30)]
    recipe = DialogueRecipe(per_task=30, multi_turn=0, two_clips=0, prompts={"train": 60})
    dialogues = list(make_dialogues(clips, TASKS, recipe))
    evenly = Counter(prompt.task for prompt in make_preference_prompts(dialogues, recipe))
    assert evenly == dict.fromkeys([*targets, "conversation"], 10)
    weights = {"asr": 4.0, "conversation": 2.0, "lid": 0.0}
    weighed = recipe.model_copy(update={"prompt_tasks": weights})
    drawn = Counter(prompt.task for prompt in make_preference_prompts(dialogues, weighed))
    assert drawn == {"asr": 30, "conversation": 20}  # there are no more of asr


def test_weights_of_tasks_that_give_no_prompt_are_refused() -> None:
    recipe = RECIPE.model_copy(update={"prompt_tasks": {"asr": 1.0, "ser": 1.0}})
    dialogues = list(make_dialogues([speech("a")], TASKS, recipe))
    with pytest.raises(TaskError, match=r"prompt_tasks weighs \['ser'\].*some of \['asr'\]"):
        make_preference_prompts(dialogues, recipe)


def test_a_conversation_with_a_worse_answer_is_a_pair_and_no_dialogue() -> None:
    talk = [{"role": "user", "text": "Who?"}, {"role": "assistant", "text": "A neighbour."}]
    clip = speech("call", targets={}, conversation=talk, rejected="A dog.", split="dev")
    assert list(make_dialogues([clip], TASKS, RECIPE)) == []
    pair = given_pair(clip)
    assert (pair.id, pair.split, pair.ranker) == ("call", "dev", "given")
    assert (pair.chosen, pair.rejected, pair.margin) == ("A neighbour.", "A dog.", 1)
    assert pair.prompt.turns == (Turn(role="user", text="Who?", audio=("call",)),)
    assert preferred(pair).answer == "A neighbour."
    with pytest.raises(ValueError, match="clip 'b' has no `rejected`"):
        given_pair(speech("b"))
