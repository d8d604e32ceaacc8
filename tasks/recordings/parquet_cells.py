"""Reads recordings out of Parquet files, a row group at a time."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.recordings.decode import DecodeError
from tasks.recordings.locations import RefusedLocationError, check_location


class ParquetCells:
    """Bytes in the cells of Parquet files. The row group that was read last stays in memory."""

    def __init__(self) -> None:
        self._open: tuple[str, Any] | None = None
        self._group: tuple[str, str, int] | None = None
        self._first, self._column = 0, pa.chunked_array([], pa.binary())

    def read(self, path: str, column: str, row: int) -> bytes:
        """Return the bytes of a cell; `column` may be a field of a struct, such as "audio.bytes".

        Raises:
            DecodeError: `refused_url`, `missing_file` where there is no such cell, `damaged`.
        """
        try:
            check_location(path)
            return self._bytes(path, column, row)
        except RefusedLocationError as error:
            raise DecodeError("refused_url", str(error)) from error
        except FileNotFoundError as error:
            raise DecodeError("missing_file", f"{path} can't be read: {error}") from error
        except (pa.ArrowException, OSError) as error:
            raise DecodeError("damaged", f"{path} is no whole Parquet file: {error}") from error

    def _bytes(self, path: str, column: str, row: int) -> bytes:
        if self._open is None or self._open[0] != path:
            self._open, self._group = (path, pq.ParquetFile(path)), None
        file = self._open[1]
        begins = self._begins(file)
        number = next((i for i in reversed(range(len(begins))) if begins[i] <= row), -1)
        if row >= file.metadata.num_rows or number < 0:
            raise FileNotFoundError(f"it has {file.metadata.num_rows} rows, and no row {row}")
        if self._group != (path, column, number):
            table = file.read_row_group(number, columns=[column])
            if not table.num_columns:
                raise FileNotFoundError(f"it has no column {column}")
            values = table.column(0)
            for name in column.split(".")[1:]:
                values = pc.struct_field(values, name)
            self._group, self._first, self._column = (path, column, number), begins[number], values
        data = self._column[row - self._first].as_py()
        if not isinstance(data, bytes):
            raise FileNotFoundError(f"its column {column} has no bytes in row {row}")
        return data

    @staticmethod
    def _begins(file: Any) -> list[int]:
        """First row of each row group."""
        begins, total = [], 0
        for number in range(file.metadata.num_row_groups):
            begins.append(total)
            total += file.metadata.row_group(number).num_rows
        return begins
