"""Rows of a manifest in any of the forms that are known, as clips.

Wordings of rejected rows are part of a source's digest (`manifest.source_digest`): they stay.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from data_contracts.jsonl import explain
from data_contracts.records import Clip, Rejected
from tasks.recordings.locations import RefusedLocationError, check_location, resolve
from tasks.recordings.segments import clips_of_line
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.forms.clips import RowPlace, clips_of_row
from tasks.sources.forms.flat import parsed_lists
from tasks.sources.forms.llama_factory import DataSet
from tasks.sources.forms.table import OWN, TABLE_FORM, Form, find_form, renamed
from tasks.sources.forms.talk import FormError, Row
from tasks.sources.hugging_face import data_set_rows, is_data_set
from tasks.sources.json_rows import MAX_INLINE_BYTES, MAX_ROW_BYTES, TextRow, json_rows
from tasks.sources.named_sets import described, named_sets
from tasks.sources.source_error import DataSourceError
from tasks.sources.tables import read_table

Understood = tuple[str, Clip | Rejected]
"""Name of the form that a row has, and the row."""
UNKNOWN = "unknown"
"""Form of a row that has none."""
_TABLES: Mapping[str, dict[str, Any]] = {
    ".csv": {"delimiter": ","},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}
"""Dialects of tables by the end of the name; in TSV quotes are text."""


def manifest_rows(url: str, columns: Mapping[str, str]) -> Iterator[Understood]:
    """Yield the rows of a manifest with their forms, and a rejected record for each that is none.

    Args:
        url: JSONL, JSON list, CSV, TSV or Parquet file, `dataset_info.json` of LLaMA-Factory, or
            folder of a Hugging Face data set.
        columns: names of fields -> names of columns that hold them.

    Raises:
        DataSourceError: nothing is there that can be read.
    """
    reader = _Reader(url, columns)
    if is_data_set(url):
        yield from reader.of_data_set()
    elif url.endswith(tuple(_TABLES)):
        yield from reader.of_table(_TABLES[url[-4:]])
    elif sets := named_sets(url):
        for name, named in sets.items():
            yield from _named_set(url, columns, name, named)
    else:
        data_set = described(url)
        form = None if data_set is None else _form_of(data_set)
        yield from _Reader(url, columns, form).of_json()


def _named_set(
    url: str, columns: Mapping[str, str], name: str, data_set: DataSet
) -> Iterator[Understood]:
    """Yield the rows of a set that a `dataset_info.json` names; a set of a hub is rejected."""
    if data_set.file_name is None:
        detail = "file_name is missing: nothing is downloaded. Give a file of this machine"
        yield UNKNOWN, Rejected(id=name, reason="invalid_row", detail=detail)
        return
    try:
        check_location(data_set.file_name)
    except RefusedLocationError as error:
        yield UNKNOWN, Rejected(id=name, reason="refused_url", detail=str(error))
        return
    file = resolve(_folder_of(url), data_set.file_name)
    yield from _Reader(file, columns, _form_of(data_set), f"{name}/").of_json()


def _form_of(data_set: DataSet) -> Form:
    return Form("llama-factory", lambda _: True, data_set.read)


@dataclass(frozen=True)
class _Reader:
    """Rows of one file."""

    url: str
    columns: Mapping[str, str]
    form: Form | None = None
    """Form that all rows have; None: their keys tell."""
    prefix: str = ""
    """Beginning of the ids of rows that give none."""

    def of_json(self) -> Iterator[Understood]:
        """Read JSON lines or a JSON list."""
        for row in json_rows(self.url):
            if row.is_too_long:
                is_inline = len(row.data) > MAX_INLINE_BYTES
                longest = MAX_INLINE_BYTES if is_inline else MAX_ROW_BYTES
                detail = f"longer than {longest} bytes: no row of one recording. Split it"
                yield UNKNOWN, self._rejected(row.name, detail)
                continue
            place = RowPlace(self.url, self._id(row.number), row.begin_byte, row.data)
            yield from self._understood(row.name, partial(self._of, row, place))

    def of_table(self, dialect: Mapping[str, Any]) -> Iterator[Understood]:
        """Read the rows of a CSV or TSV file, whose header names the columns."""
        folder, _, key = self.url.rpartition("/")
        try:
            rows = read_table(CorpusFiles(folder), key, (), **dialect)
            for number, row in enumerate(rows, start=1):
                if isinstance(row, Rejected):
                    yield UNKNOWN, row
                    continue
                if number == 1:
                    self._check_columns(row)
                place = RowPlace(self.url, self._id(number))
                yield from self._understood(f"row {number}", partial(self._flat, row, place))
        except OSError as error:
            raise DataSourceError(f"manifest {self.url!r} can't be read: {error}") from error

    def of_data_set(self) -> Iterator[Understood]:
        """Read the rows of a Hugging Face data set."""
        for number, row in enumerate(data_set_rows(self.url, self.columns.get("audio"))):
            if number == 0:
                self._check_columns(row.values)
            place = RowPlace(row.url, row.name, embedded=row.location)
            yield from self._understood(row.name, partial(self._flat, row.values, place))

    def _id(self, number: int) -> str:
        return f"{self.prefix}row-{number:06d}"

    def _check_columns(self, row: Row) -> None:
        if absent := [name for name in self.columns.values() if name not in row]:
            raise DataSourceError(
                f"{self.url!r} has the columns {', '.join(row)[:500]}; data.columns names "
                f"{', '.join(absent)}. Name columns that are there."
            )

    def _of(self, row: TextRow, place: RowPlace) -> tuple[str, list[Clip]]:
        """Make the clips of a JSON text: the own form where it fits, else that of its keys."""
        own: ValidationError | None = None
        if self.form is None and not self.columns:
            try:
                return OWN, clips_of_line(row.text)
            except ValidationError as error:
                own = error
        try:
            values = from_json(row.text)
        except ValueError as error:
            raise own or FormError(str(error)) from error
        if not isinstance(values, dict):
            raise own or FormError("the row is no JSON object")
        if self.columns:
            values = renamed(values, self.columns)
        form = self.form or find_form(values, (TABLE_FORM,) if self.columns else ())
        if form is None:
            if own is not None:
                raise own
            return OWN, [Clip.model_validate(values)]
        return form.name, clips_of_row(form, values, place)

    def _flat(self, row: Row, place: RowPlace) -> tuple[str, list[Clip]]:
        values = parsed_lists(renamed(row, self.columns))
        form = find_form(values, (TABLE_FORM,))
        if form is None:
            raise FormError(
                f"the columns {', '.join(row)[:200]} name no recording with a text, a label or a "
                "conversation. Map them with data.columns, such as {audio: FILE, text: WORDS}"
            )
        return form.name, clips_of_row(form, values, place)

    def _understood(
        self, name: str, read: Callable[[], tuple[str, list[Clip]]]
    ) -> Iterator[Understood]:
        """Yield the clips of a row with their locations, or the record of why it is rejected.

        A conversation with a recording that can't be opened is rejected as a whole.
        """
        try:
            form, clips = read()
        except ValidationError as error:
            yield UNKNOWN, self._rejected(name, explain(error))
            return
        except FormError as error:
            yield UNKNOWN, self._rejected(name, str(error))
            return
        base = _folder_of(self.url)
        located: list[Clip | Rejected] = []
        for clip in clips:
            try:
                check_location(clip.audio)
            except RefusedLocationError as error:
                refused = Rejected(id=clip.id, reason="refused_url", detail=str(error))
                if form != OWN:
                    yield form, refused
                    return
                located.append(refused)
                continue
            located.append(clip.model_copy(update={"audio": resolve(base, clip.audio)}))
        yield from ((form, row) for row in located)

    def _rejected(self, name: str, detail: str) -> Rejected:
        return Rejected(id=f"{self.prefix}{name}", reason="invalid_row", detail=detail)


def _folder_of(url: str) -> str:
    return url.rsplit("/", 1)[0] if "/" in url else "."
