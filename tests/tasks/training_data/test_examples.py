"""Examples made of their rows, against the conversations written out."""

import pickle
from pathlib import Path

from data_contracts.jsonl import to_jsonl
from data_contracts.records import Clip, Conversation, PackedClip, Turn
from infra.storage.store import Store
from model.audio import num_audio_tokens
from tasks.conversations.dialogues import completion
from tasks.conversations.prompts import training_prompts
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.artifact import DIALOGUES
from tasks.corpus.index import CorpusIndex
from tasks.corpus.shards import write_index
from tasks.training_data.examples import ClipTable, completion_examples, dialogue_examples
from tests.support.recordings import packed


def clip(name: str, num_samples: int = 16_000, **fields: object) -> PackedClip:
    row = Clip.model_validate({"id": name, "audio": "-", "targets": {"asr": name}} | fields)
    return packed(row).model_copy(update={"num_samples": num_samples})


TASKS = shipped_tasks()
CLIPS = [
    clip("sounds", targets={"sound": "bird", "caption": "A bird."}, source="x"),
    clip("speech", 32_000, targets={"lid": "German", "asr": "ja"}, language="de", source="y"),
    clip("held out", split="test"),
    clip("a command", kind="command"),
    clip("unasked", targets={"voice_chat": "hello"}),
]
DIALOGUE = Conversation(
    id="two", format="chat", task="two_clips",
    turns=(
        Turn(role="user", text="?", audio=("speech", "sounds")),
        Turn(role="assistant", text="!"),
    ),
)  # fmt: skip
SILENT = Conversation(
    id="silent", format="chat", task="conversation",
    turns=(Turn(role="user", text="?"), Turn(role="assistant", text="!")),
)  # fmt: skip


def index_of(folder: Path) -> CorpusIndex:
    store = Store(str(folder))
    write_index(store, CLIPS)
    test = DIALOGUE.model_copy(update={"id": "test", "split": "test"})
    store.write_text(DIALOGUES, to_jsonl([test, DIALOGUE, SILENT]))
    return CorpusIndex(store)


def test_training_clips_are_asked_for_each_task_with_every_prompt(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    training_set = completion_examples(index, ClipTable.of(index, TASKS), TASKS, "natural")
    examples, table = training_set.examples, training_set.table
    asked = [(CLIPS[1], "asr"), (CLIPS[0], "caption"), (CLIPS[1], "lid"), (CLIPS[0], "sound")]
    assert [examples[i] for i in range(len(examples))] == [
        tuple(completion(row, task, p) for p in training_prompts(TASKS, task, row))
        for row, task in asked
    ]
    assert [table.task[i] for i in range(4)] == ["asr", "caption", "lid", "sound"]
    assert [table.language[i] for i in range(4)] == ["de", "none", "de", "none"]
    assert [table.corpus[i] for i in range(4)] == ["y", "x", "y", "x"]
    assert table.num_samples.tolist() == [32_000, 16_000, 32_000, 16_000]
    assert table.num_audio_tokens.tolist() == [
        num_audio_tokens(n) for n in (32_000, 16_000, 32_000, 16_000)
    ]


def test_dialogues_count_all_their_clips_and_belong_to_the_first(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    training_set = dialogue_examples(Store(str(tmp_path)), index, ClipTable.of(index, TASKS))
    dialogues, table = training_set.examples, training_set.table
    assert [dialogues[i] for i in range(len(dialogues))] == [(DIALOGUE,), (SILENT,)]
    assert [table.task[i] for i in range(2)] == ["two_clips", "conversation"]
    assert [table.language[i] for i in range(2)] == ["de", "none"]
    assert [table.corpus[i] for i in range(2)] == ["y", "none"]
    assert table.num_samples.tolist() == [48_000, 0]


def test_chained_examples_and_tables_keep_their_order_and_travel(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    clips = ClipTable.of(index, TASKS)
    completions = completion_examples(index, clips, TASKS, "natural")
    together = completions + dialogue_examples(Store(str(tmp_path)), index, clips)
    both, table = together.examples, together.table
    assert len(together) == len(both) == len(table) == 6
    assert [both[i][0].task for i in range(6)] == [table.task[i] for i in range(6)]
    assert [table.corpus[i] for i in range(6)] == ["y", "x", "y", "x", "y", "none"]
    carried = pickle.loads(pickle.dumps(both))
    assert [carried[i] for i in range(6)] == [both[i] for i in range(6)]


def test_a_corpus_without_training_clips_has_no_examples(tmp_path: Path) -> None:
    write_index(Store(str(tmp_path)), CLIPS[2:])
    index = CorpusIndex(Store(str(tmp_path)))
    training_set = completion_examples(index, ClipTable.of(index, TASKS), TASKS, "natural")
    examples, table = training_set.examples, training_set.table
    assert len(examples) == len(table) == 0
