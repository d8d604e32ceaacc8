"""Preference pairs that come with the data: packed, checked, and what a corpus says it has."""

from pathlib import Path
from typing import Any

import pytest

from data_contracts.contract_result import ContractBreachError, enforce
from infra.storage.store import Store
from tasks import ingest
from tasks.conversations.task_table import CONVERSATION
from tasks.corpus.artifact import DIALOGUES, PROMPTS, read_conversations
from tasks.corpus.contents import read_contents
from tasks.corpus.pairs import PAIRS, read_pairs
from tests.support import ingests
from tests.support.recordings import row, write_manifest, write_tones

NAMES = ["a", "b", "c", "d", "e"]


def talk(name: str, *, split: str, **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "text": "Who?"}, {"role": "assistant", "text": f"It is {name}."}]
    return row(name, targets={}, conversation=turns, split=split, **fields)


def ingested(folder: Path, rows: list[dict[str, Any]]) -> Store:
    write_tones(folder / "in", NAMES)
    ingests.run(folder / "out", ingests.BARE, write_manifest(folder / "in", rows))
    return Store(str(folder / "out"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return ingested(
        tmp_path_factory.mktemp("pairs"),
        [
            talk("a", split="train", rejected="No idea."),
            talk("b", split="test", rejected="A dog."),
            talk("c", split="train"),
            row("d", split="train", targets={"asr": "dee", "sound": "dog"}),
            row("e", split="test", targets={"asr": "eh"}),
        ],
    )


def test_rows_with_a_worse_answer_are_the_pairs_of_the_corpus(corpus: Store) -> None:
    pairs = read_pairs(corpus)
    assert [(pair.id, pair.split, pair.chosen, pair.rejected) for pair in pairs] == [
        ("a", "train", "It is a.", "No idea."),
        ("b", "test", "It is b.", "A dog."),
    ]
    assert [pair.prompt.clip_ids for pair in pairs] == [("a",), ("b",)]


def test_they_are_neither_fine_tuned_on_nor_sampled(corpus: Store) -> None:
    for key in (DIALOGUES, PROMPTS):
        own = [d for d in read_conversations(corpus, key) if d.task == CONVERSATION]
        assert [dialogue.clip_ids for dialogue in own] == [("c",)]


def test_the_contents_are_counted_by_split_and_task(corpus: Store) -> None:
    contents = read_contents(corpus)
    assert contents.completions == {"test": {"asr": 1}, "train": {"asr": 1, "sound": 1}}
    assert contents.pairs == {"test": 1, "train": 1}
    assert contents.suites == {"asr": 1}
    train = contents.dialogues["train"]
    assert (train["conversation"], train["asr"], train["sound"]) == (1, 1, 1)
    assert contents.prompts == {
        "test": {"asr": 1},
        "train": {"asr": 1, "conversation": 1, "sound": 1},
    }


def test_the_contracts_of_pairs_and_of_their_conversations_are_checked(corpus: Store) -> None:
    results = {result.table: result for result in ingest.check(corpus)}
    for name in ("pairs", "conversations of the pairs"):
        assert results[name].rows == 2
        enforce(results[name])


def test_a_pair_that_hears_an_unknown_clip_is_refused(tmp_path: Path) -> None:
    bad = talk("a", split="train", rejected="No.")
    bad["conversation"][0]["audio"] = ["nowhere"]
    corpus = ingested(tmp_path, [bad, row("b", split="train")])
    results = {result.table: result for result in ingest.check(corpus)}
    with pytest.raises(ContractBreachError, match=r"(?s)dialogues.audio_is_known.*nowhere"):
        enforce(results["conversations of the pairs"])


def test_a_corpus_without_pairs_has_no_file_of_them(tmp_path: Path) -> None:
    corpus = ingested(tmp_path, [talk("a", split="train"), row("b", split="train")])
    assert not corpus.exists(PAIRS)
    assert read_pairs(corpus) == []
    assert read_contents(corpus).pairs == {}
