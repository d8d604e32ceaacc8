"""Rows of tables: a recording and its labels, a column each."""

import json
from collections.abc import Mapping
from typing import Any

from tasks.sources.forms.nemo import Labels
from tasks.sources.forms.talk import FormError, Row, shown

AUDIO_COLUMNS = ("audio", "path", "file_name", "audio_path", "file")
"""Names of the column of the recording; the first that a row has counts."""
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript")
"""Names of the column of the words of a recording, where no task is named."""
OTHER_COLUMNS = {
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id"),
}
SPLITS = {"train": "train", "validation": "dev", "valid": "dev", "val": "dev", "dev": "dev"} | {
    "test": "test"
}
"""Names of splits of other tools -> the split that they become."""
_SAME = (
    "begin_seconds", "end_seconds", "seconds", "question", "target_language", "phrase", "kind",
    "source", "license", "sha256",
)  # fmt: skip
_LISTS = frozenset(
    {"messages", "audios", "history", "conversation", "conversations", "rejected_messages"}
)


def is_flat(row: Row) -> bool:
    """Whether a row has a recording and a label."""
    return _first(row, AUDIO_COLUMNS) is not None and (
        "targets" in row or "task" in row or _first(row, TEXT_COLUMNS) is not None
    )


def read_flat(row: Row) -> Labels:
    """Read a recording with its text, or with the answer of the task that the row names.

    Raises:
        FormError: a label is no text.
    """
    audio, text = _first(row, AUDIO_COLUMNS), _first(row, TEXT_COLUMNS)
    labels: Labels = {"audio": row[audio or ""]}
    if "targets" in row:
        targets = row["targets"]
        if not isinstance(targets, Mapping):
            raise FormError(f"targets: {shown(targets)} is no map from task to answer")
        labels["targets"] = {
            task: answer if isinstance(answer, str) else str(answer)
            for task, answer in targets.items()
            if answer not in (None, "")
        }
    else:
        labels["targets"] = {row.get("task") or "asr": row[text] if text else ""}
    for field, names in OTHER_COLUMNS.items():
        if (name := _first(row, names)) is not None:
            value = row[name]
            labels[field] = value if isinstance(value, str) else str(value)
    return labels | {name: row[name] for name in _SAME if row.get(name) not in (None, "")}


def parsed_lists(row: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the cells of a table that hold lists as JSON; empty cells are left out.

    Raises:
        FormError: such a cell is no JSON.
    """
    values = {}
    for name, value in row.items():
        if value == "":
            continue
        if name in _LISTS and isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise FormError(f"{name}: {shown(value)} is no JSON list: {error}") from error
        values[name] = value
    return values


def _first(row: Row, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)
