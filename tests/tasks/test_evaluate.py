"""What the evaluation may know beside the questions."""

from pathlib import Path

from data_contracts.jsonl import to_jsonl
from data_contracts.records import Clip, Conversation, PackedClip, Split, Turn
from infra.storage.store import Store
from tasks.corpus.artifact import DIALOGUES
from tasks.evaluate import training_answers
from tests.support.recordings import packed


def clip(name: str, split: Split, **targets: str) -> PackedClip:
    return packed(Clip(id=name, audio=f"{name}.wav", targets=targets, language="en", split=split))


def dialogue(name: str, split: Split, answer: str, task: str = "voice_chat") -> Conversation:
    turns = (Turn(role="user", audio=(name,)), Turn(role="assistant", text=answer))
    return Conversation(id=name, format="chat", turns=turns, task=task, split=split)


def corpus_with(folder: Path, *dialogues: Conversation) -> Store:
    store = Store(str(folder))
    store.write_text(DIALOGUES, to_jsonl(dialogues))
    return store


def test_the_majority_baseline_is_fed_by_the_train_split_alone(tmp_path: Path) -> None:
    index = [
        clip("a", "train", sound="cat", lid="English"),
        clip("b", "dev", sound="dog"),
        clip("c", "test", sound="dog", digits="7"),
        clip("d", "train", sound="cow"),
    ]
    corpus = corpus_with(
        tmp_path,
        dialogue("e", "train", "Paris."),
        dialogue("f", "dev", "Rome."),
        dialogue("g", "test", "Madrid."),
    )
    assert training_answers(corpus, index) == {
        "sound": ["cat", "cow"],
        "lid": ["English"],
        "voice_chat": ["Paris."],
    }


def test_answers_to_a_spoken_question_are_those_of_the_dialogues(tmp_path: Path) -> None:
    """The target of such a clip is an answer too, but not always one that was asked for."""
    index = [clip("a", "train", voice_chat="It is 4.", sound="cat")]
    corpus = corpus_with(
        tmp_path, dialogue("a", "train", "4."), dialogue("b", "train", "cat", task="sound")
    )
    assert training_answers(corpus, index) == {"sound": ["cat"], "voice_chat": ["4."]}
