"""Rows of the contracts: a million rows made to a table and validated.

Nothing races here: both columns of time show the same run. What it takes to make the rows
themselves, and to throw them away, is taken off.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

import pandas as pd

from benchmarks.harness import Condition, Race, Row, cpu_seconds, peak_anonymous_bytes
from benchmarks.ingestion import MOST_BYTES_A_ROW
from data_contracts import clip_contracts as clip_suites
from data_contracts import clip_tables
from data_contracts.contract import Contract
from data_contracts.contract_result import ContractResult
from data_contracts.records import Clip, PackedClip, Split
from data_contracts.validation import validate_slices
from tasks.conversations.task_table import shipped_tasks

R = TypeVar("R", Clip, PackedClip)

_ROWS = 1_000_000
_MORE_ROWS = 1_500_000
"""By which memory is seen to grow, once a slice of the table is full; peaks of equal work differ by
some megabytes."""
_ROWS_AT_ONCE = 4096
_MOST_SECONDS = 3.0
_SPLITS: tuple[Split, ...] = ("train", "train", "train", "dev", "test")
_PLANTED_IN_MANIFEST = {
    "manifest.id_is_unique": 2,
    "manifest.targets_have_text": 1,
    "manifest.phrase_stays_in_one_split": 1,
}
_PLANTED_IN_INDEX = {
    "shard_index.id_is_unique": 2,
    "shard_index.text_fits_duration": 1,
    "shard_index.phrase_stays_in_one_split": 1,
    "shard_index.audio_occurs_once": 1,
}


def contracts() -> Iterator[Row]:
    """Of a manifest and of a shard index."""
    yield _row("manifest", _PLANTED_IN_MANIFEST)
    yield _row("shard_index", _PLANTED_IN_INDEX)


def contracts_memory() -> Iterator[Row]:
    """How much more memory they take for more rows, each time in a process of its own."""
    yield _memory("manifest")
    yield _memory("shard_index")


def _table(name: str, count: int) -> tuple[Contract, "_Rows[Any]", Iterable[pd.DataFrame]]:
    """A contract, `count` rows for it, and the slices of their table, none of which is made yet."""
    if name == "manifest":
        clips = _Rows(_clip, count)
        return clip_suites.MANIFEST, clips, clip_tables.manifest_frames(clips)
    packed = _Rows(_packed, count)
    return (
        clip_suites.SHARD_INDEX,
        packed,
        clip_tables.shard_index_frames(packed, 30.0, shipped_tasks().about_the_whole),
    )


def _row(name: str, planted: Mapping[str, int]) -> Row:
    contract, rows, frames = _table(name, 1000)
    validate_slices(contract, frames, "warm")  # imports Great Expectations
    _, rows, _ = _table(name, _ROWS)
    dropping = cpu_seconds(lambda: _drop(rows)) - rows.seconds
    _, rows, frames = _table(name, _ROWS)
    framing = cpu_seconds(lambda: deque(frames, maxlen=0)) - rows.seconds - dropping
    _, rows, frames = _table(name, _ROWS)
    results: list[ContractResult] = []
    spent = cpu_seconds(lambda: results.append(validate_slices(contract, frames, "measured")))
    seconds = spent - rows.seconds - dropping
    outcomes = results[0].outcomes
    found = {o.rule: o.unexpected_count for o in outcomes if o.unexpected_count or o.detail}
    return Row(
        name=f"contract of {name}",
        work=f"{_ROWS} rows: table {framing:.2f} s, validation {seconds - framing:.2f} s",
        race=Race(seconds, seconds, 1.0),
        goal=None,
        stretch=None,
        conditions=(
            Condition("seconds of validation", seconds - framing, "<=", _MOST_SECONDS),
            Condition("seconds with the table", seconds, "<=", _MOST_SECONDS),
            Condition("planted faults missed or others found", float(found != planted), "<=", 0),
        ),
    )


def _memory(name: str) -> Row:
    peaks, seconds = [], 0.0
    for count in (_ROWS, _ROWS + _MORE_ROWS):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            peak, seconds = process.submit(_peak, name, count).result()
            peaks.append(peak)
    growth = (peaks[1] - peaks[0]) / _MORE_ROWS
    return Row(
        name=f"contract of {name}, memory",
        work=f"{_ROWS} rows {peaks[0] / 1e6:.0f} MB, {_ROWS + _MORE_ROWS} rows "
        f"{peaks[1] / 1e6:.0f} MB",
        race=Race(seconds, seconds, 1.0),
        goal=None,
        stretch=None,
        conditions=(Condition("more bytes a row", growth, "<=", MOST_BYTES_A_ROW),),
    )


def _peak(name: str, count: int) -> tuple[int, float]:
    """Most memory that a contract takes, in bytes, and its CPU seconds."""
    contract, _, frames = _table(name, 1000)
    validate_slices(contract, frames, "warm")
    _, _, frames = _table(name, count)
    start = time.process_time()
    peak = peak_anonymous_bytes(lambda: validate_slices(contract, frames, "measured"))
    return peak, time.process_time() - start


class _Rows(Iterable[R]):
    """Rows that come into being while they are iterated, and what that took."""

    def __init__(self, make: Callable[[int], R], count: int) -> None:
        self._make: Callable[[int], R] = make
        self._count = count
        self.seconds = 0.0
        """CPU."""

    def __iter__(self) -> Iterator[R]:
        for first in range(0, self._count, _ROWS_AT_ONCE):
            start = time.process_time()
            rows = [self._make(i) for i in range(first, min(first + _ROWS_AT_ONCE, self._count))]
            self.seconds += time.process_time() - start
            yield from rows


def _drop(rows: Iterable[object]) -> None:
    """Take as many at once as the tables do, and hold them until the next have come, as they do:
    otherwise those who make the rows throw them away.
    """
    remaining = iter(rows)
    held = list(islice(remaining, _ROWS_AT_ONCE))
    while held:
        held = list(islice(remaining, _ROWS_AT_ONCE))


def _clip(number: int) -> Clip:
    """Made without checks: they are ingest's when it reads a manifest, and are done then."""
    return Clip.model_construct(**_fields(number), audio="-")


def _packed(number: int) -> PackedClip:
    name = f"clip-{number:07d}"
    return PackedClip.model_construct(
        **_fields(number),
        shard=f"corpus/shard-{number // 500:05d}.tar",
        offset=512 + number % 500 * 100_000,
        size=90_000,
        num_samples=48_000,
        rms=0.1,
        origin=(name,),
    )


def _fields(number: int) -> dict[str, Any]:
    """What a manifest and an index say alike. Rows 7, 8 and 9 are wrong, 12 repeats 11."""
    same = 11 if number == 12 else number
    return {
        "id": f"clip-{6 if number == 7 else number:07d}",
        "targets": {"asr": " " if number == 8 else f"The words of sentence number {same}"},
        "language": ("en", "fr", "de")[same % 3],
        "speaker": f"speaker {number % 5000}",
        "kind": "speech",
        "split": _SPLITS[number % 5],
        "phrase": f"sentence {0 if number == 9 else same}",
        "sha256": f"{same:064x}",
    }
