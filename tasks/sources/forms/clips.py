"""Makes clips of what a row of another tool says: one for each recording that it names.

The first clip of a conversation holds it; its turns name all of them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from data_contracts.languages import LANGUAGES
from data_contracts.records import Clip
from tasks.sources.forms.flat import OTHER_COLUMNS, SPLITS
from tasks.sources.forms.table import Form
from tasks.sources.forms.talk import FormError, Heard, Inline, Row, Talk, check_talk, shown

EMBEDDED = "(in this row)"
"""Location of a recording that is a cell of its row."""
_CODES = {name.casefold(): code for code, name in LANGUAGES.items()}
_SHARED = ("target_language", "phrase", "kind", "source", "license")


class RowPlace(NamedTuple):
    """Place of a row in its file, where recordings that it holds are read from."""

    url: str
    name: str
    """Id of the row where it gives none."""
    begin_byte: int = 0
    data: bytes = b""
    """Bytes of the row; none where the file is no text."""
    embedded: Mapping[str, Any] = MappingProxyType({})
    """Fields of a clip that say where the recording `EMBEDDED` is."""


def clips_of_row(form: Form, row: Row, place: RowPlace) -> list[Clip]:
    """Make the clips of a row.

    Raises:
        FormError: a rule of the form is broken.
        ValidationError: a value breaks a rule of `Clip`.
    """
    understood = form.read(row)
    shared = {name: row[name] for name in _SHARED if isinstance(row.get(name), str)} | _who(row)
    name = _id(row) or place.name
    if not isinstance(understood, Talk):
        if "language" in understood:
            understood["language"] = _code(understood["language"])
        if understood.get("audio") == EMBEDDED:
            understood |= place.embedded
        return [Clip.model_validate({**shared, **understood, "id": name})]
    check_talk(understood)
    heard = understood.heard
    ids = [name] if len(heard) == 1 else [f"{name}/{i}" for i in range(1, len(heard) + 1)]
    remaining = iter(ids)
    turns = [
        {"role": m.role, "text": m.text, "audio": [next(remaining) for _ in m.audio]}
        for m in understood.messages
    ]
    labels: dict[str, Any] = {"conversation": turns}
    if understood.rejected is not None:
        labels["rejected"] = understood.rejected
    return [
        Clip.model_validate(
            {
                **shared,
                **_located(each, place),
                "id": clip,
                **(labels if i == 0 else {"targets": {}}),
            }
        )
        for i, (clip, each) in enumerate(zip(ids, heard, strict=True))
    ]


def _located(heard: Heard, place: RowPlace) -> Mapping[str, Any]:
    """Return the fields that say where a recording is.

    Raises:
        FormError: it stands in the row in a way in which it can't be read from there.
    """
    if not isinstance(heard, Inline):
        return place.embedded if heard == EMBEDDED else {"audio": heard}
    for spelled in (heard.base64, heard.base64.replace("/", "\\/")):
        data = spelled.encode()
        if (offset := place.data.find(data)) >= 0 and data:
            return {
                "audio": place.url,
                "begin_byte": place.begin_byte + offset,
                "num_bytes": len(data),
                "encoding": "base64",
            }
    raise FormError(
        "a recording in base64 does not stand in the row as plain text; write it without escapes, "
        "in JSON, or as a file of its own"
    )


def _who(row: Row) -> dict[str, object]:
    """Return language, speaker and split by any of their names."""
    values: dict[str, object] = {}
    for field, names in OTHER_COLUMNS.items():
        if isinstance(value := next((row[n] for n in names if row.get(n)), None), str):
            values[field] = _code(value) if field == "language" else value
    split = row.get("split")
    if split not in (None, ""):
        if str(split) not in SPLITS:
            raise FormError(f"split: {shown(split)} is none of {', '.join(SPLITS)}")
        values["split"] = SPLITS[str(split)]
    return values


def _code(language: object) -> str:
    """Return the code of a language that is given by code, by locale or by its English name.

    Raises:
        FormError: it is no language that is known.
    """
    text = str(language)
    for code in (text, text.replace("_", "-").partition("-")[0].lower()):
        if code in LANGUAGES:
            return code
    if text.casefold() in _CODES:
        return _CODES[text.casefold()]
    raise FormError(f"language: {shown(language)} is no code of data_contracts/languages.py")


def _id(row: Row) -> str:
    value = row.get("id")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
