"""The lazy index against the parsed one, and its memory."""

import pickle
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.jsonl import RecordError, to_jsonl
from data_contracts.records import Clip, PackedClip
from infra.storage.store import MissingFileError, Store
from tasks.corpus.index import CorpusIndex
from tasks.corpus.shards import INDEX, read_index, write_index
from tests.support.recordings import packed

IDS = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), unique=True, max_size=8
)


def rows_of(names: list[str]) -> list[PackedClip]:
    return [packed(Clip(id=name, audio="-", targets={"asr": name})) for name in names]


@given(IDS)
def test_rows_are_those_of_the_parsed_index_by_number_and_by_id(names: list[str]) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    write_index(store, rows_of(names))
    index = CorpusIndex(store)
    assert list(index) == read_index(store) == index[:]
    assert len(index) == len(names)
    assert list(index.by_id) == names
    for name in names:
        assert index.by_id[name].id == name
    assert "another\n" not in index.by_id
    with pytest.raises(KeyError, match="another"):
        index.by_id["another\n"]


def test_numbers_count_from_both_ends_and_end(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_index(store, rows_of(["a", "b", "c"]))
    index = CorpusIndex(store)
    assert (index[-1].id, [row.id for row in index[1:]]) == ("c", ["b", "c"])
    with pytest.raises(IndexError):
        index[3]


def test_blank_lines_and_a_missing_last_newline_change_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first, second = rows_of(["a", "b"])
    text = f"\n{to_jsonl([first])}\n\n{to_jsonl([second]).rstrip()}"
    store.write_text(INDEX, text)
    assert list(CorpusIndex(store)) == read_index(store) == [first, second]


def test_it_pickles_as_the_location_of_its_file(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_index(store, rows_of([f"clip {i}" for i in range(1000)]))
    index = CorpusIndex(store)
    assert index.by_id["clip 7"].id == "clip 7"
    carried = pickle.dumps(index)
    assert len(carried) < 1000
    assert list(pickle.loads(carried)) == list(index)


def test_a_missing_index_and_a_damaged_row_are_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(MissingFileError, match=r"index.jsonl.*q2a plan"):
        CorpusIndex(store)
    store.write_text(INDEX, to_jsonl(rows_of(["a"])) + '{"id": "b"}\n')
    index = CorpusIndex(store)
    assert index[0].id == "a"
    with pytest.raises(RecordError, match=r"index.jsonl row 2 is not a PackedClip: shard"):
        index.by_id["b"]


_OPEN = """
import resource, sys
from infra.storage.store import Store
from tasks.corpus.index import CorpusIndex
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])
before = anonymous()
index = CorpusIndex(Store(sys.argv[1]))
assert index.by_id["clip 77777"].id == "clip 77777"
print((anonymous() - before) * 1024 / len(index))
"""


def test_an_open_index_takes_no_more_than_100_bytes_a_row(tmp_path: Path) -> None:
    store, count = Store(str(tmp_path)), 100_000
    line = to_jsonl(rows_of(["clip 0"]))
    store.write_text(INDEX, "".join(line.replace("clip 0", f"clip {i}") for i in range(count)))
    ended = subprocess.run(
        [sys.executable, "-c", _OPEN, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert float(ended.stdout) < 100
