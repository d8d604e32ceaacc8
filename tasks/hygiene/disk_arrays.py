"""Arrays larger than memory: rows are appended to files and read back mapped, or in partitions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infra.storage.file_systems import DISK_FULL
from infra.storage.store import DiskFullError

_ROWS_PER_PART = 1_000_000
_PENDING_ROWS = 250_000
_PENDING_ROWS_PER_PART = 500
"""Each flush writes to all parts: the more parts there are, the more rows wait for it."""
_MOST_PIECES = 1000
"""Pending arrays before they are joined: an object for every few rows takes more than the rows."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: the products' high bits spread keys evenly, however they cluster."""


class Spool:
    """An array on disk that grows at its end."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._path.touch()

    def __len__(self) -> int:
        return self._path.stat().st_size // int(self._dtype.itemsize)

    def add(self, rows: NDArray[Any]) -> None:
        """Append rows of the spool's dtype.

        Raises:
            DiskFullError: the disk has no room left.
        """
        try:
            with self._path.open("ab") as stream:
                stream.write(rows.astype(self._dtype, copy=False).tobytes())
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise DiskFullError(
                error.errno,
                f"no room for {len(rows) * self._dtype.itemsize} bytes; hygiene keeps about 1 KB "
                "there for each second of audio. Free the disk or put Q2A_HOME on another one, "
                "then `q2a resume`",
                str(self._path),
            ) from error

    def mapped(self, mode: Literal["r", "r+"] = "r") -> NDArray[Any]:
        """Map all rows into memory; with "r+" they can be changed in place."""
        if len(self) == 0:
            return np.zeros(0, self._dtype)  # which mmap refuses
        return np.memmap(self._path, self._dtype, mode)


class Parted:
    """Rows with a field `key`, partitioned by hash so that equal keys lie in one part.

    Each part fits into memory, so rows of equal keys are compared one part at a time. Rows of a
    part keep the order in which they were added.
    """

    def __init__(self, folder: Path, dtype: Any, expected_rows: int) -> None:
        folder.mkdir()
        self._dtype = np.dtype(dtype)
        self._parts = [
            Spool(folder / str(part), dtype) for part in range(1 + expected_rows // _ROWS_PER_PART)
        ]
        self._pending: list[NDArray[Any]] = []
        self._num_pending = 0
        self._most_pending = max(_PENDING_ROWS, _PENDING_ROWS_PER_PART * len(self._parts))

    def add(self, rows: NDArray[Any]) -> None:
        """Append rows of the given dtype."""
        if len(rows) == 0:
            return
        self._pending.append(rows)
        self._num_pending += len(rows)
        if len(self._pending) > _MOST_PIECES:
            self._pending = [np.concatenate(self._pending)]
        if self._num_pending >= self._most_pending:
            self._write()

    def __iter__(self) -> Iterator[NDArray[Any]]:
        self._write()
        for part in self._parts:
            yield part.mapped()

    def _write(self) -> None:
        rows = np.concatenate([np.zeros(0, self._dtype), *self._pending])
        self._pending, self._num_pending = [], 0
        part_of = ((rows["key"] * _SPREAD) >> np.uint64(32)) % np.uint64(len(self._parts))
        order = np.argsort(part_of, kind="stable")
        ends = np.searchsorted(part_of[order], np.arange(1, len(self._parts)))
        for part, members in zip(self._parts, np.split(order, ends), strict=True):
            if len(members):
                part.add(rows[members])
