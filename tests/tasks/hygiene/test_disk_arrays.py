"""Rows that are partitioned on disk come back whole, and take little memory."""

import tracemalloc
from pathlib import Path

import numpy as np

from tasks.hygiene.disk_arrays import Parted


def test_rows_are_partitioned_on_disk_and_none_is_lost(tmp_path: Path) -> None:
    """More rows than a part holds, a tenth of them of one key."""
    draw = np.random.default_rng(0)
    rows = np.zeros(2_500_000, np.dtype([("key", "<u8"), ("place", "<i8")]))
    rows["key"] = draw.integers(0, 1 << 40, len(rows))
    rows["key"][::10] = 7
    rows["place"] = np.arange(len(rows))
    parted = Parted(tmp_path / "parts", rows.dtype, len(rows))
    for start in range(0, len(rows), 170_000):
        parted.add(rows[start : start + 170_000])
    parts = list(parted)
    assert [len(part) > 500_000 for part in parts] == [True] * 3
    keys = [np.unique(part["key"]) for part in parts]
    assert sum(map(len, keys)) == len(np.unique(rows["key"]))
    assert all(np.all(np.diff(part["place"]) > 0) for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts), order="place"), rows)


def test_rows_that_come_one_by_one_or_not_at_all_take_no_more_memory_than_rows(
    tmp_path: Path,
) -> None:
    one = np.ones(1, np.dtype([("key", "<u8"), ("place", "<i8")]))
    parted = Parted(tmp_path / "parts", one.dtype, 1)
    tracemalloc.start()
    for _ in range(50_000):
        parted.add(one.copy())
        parted.add(one[:0].copy())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * 50_000 * one.itemsize
    assert [len(part) for part in parted] == [50_000]
