"""Rows of NeMo's manifests: transcripts, translations, and conversations of single parts.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby

from tasks.sources.forms.talk import FormError, Heard, Message, Row, Talk, heard_at, shown, text_of

Labels = dict[str, object]
"""Fields of a clip that a row tells, without its id."""
_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
_TRANSLATIONS = ("ast", "s2t_translation", "translate")


def is_speech(row: Row) -> bool:
    """Whether a row is a recording with its text."""
    return "audio_filepath" in row


def read_speech(row: Row) -> Labels:
    """Read a transcript, or a translation where Canary's fields say so.

    With an offset, `duration` is that of the segment; without one, that of the file.

    Raises:
        FormError: a field has no value that can be used.
    """
    path = row["audio_filepath"]
    if not isinstance(path, str) or not path:
        raise FormError(f"audio_filepath: {shown(path)} is no path of a recording")
    if "text" not in row:
        raise FormError("the row has no text. Give it one, or leave the row out")
    labels: Labels = {"audio": path}
    begin, seconds = _seconds(row, "offset"), _seconds(row, "duration")
    if begin is not None:
        labels["begin_seconds"] = begin
        if seconds is not None:
            labels["end_seconds"] = begin + seconds
    elif seconds is not None:
        labels["seconds"] = seconds
    source, target = text_of(row, "source_lang"), text_of(row, "target_lang")
    language = source or text_of(row, "lang")
    if language:
        labels["language"] = language
    task = text_of(row, "taskname") or ("ast" if source and target not in ("", source) else "asr")
    if task in _TRANSLATIONS:
        if not target:
            raise FormError("taskname: a translation needs target_lang")
        return labels | {"targets": {"s2tt": text_of(row, "text")}, "target_language": target}
    if task not in ("asr", "transcribe"):
        raise FormError(f"taskname: {shown(task)} is none of asr, {', '.join(_TRANSLATIONS)}")
    return labels | {"targets": {"asr": text_of(row, "text")}}


def is_conversation(row: Row) -> bool:
    """Whether a row has `conversations` whose turns are parts with a type."""
    turns = row.get("conversations")
    return isinstance(turns, list) and any(
        isinstance(turn, Mapping) and "type" in turn for turn in turns
    )


def read_conversation(row: Row) -> Talk:
    """Read a conversation; successive parts of one role are one message.

    Raises:
        FormError: a part is neither text nor audio, or of another role.
    """
    parts = [_part(turn, f"conversations.{i}") for i, turn in enumerate(row["conversations"])]
    messages = []
    for role, group in groupby(parts, lambda part: part[0]):
        together = list(group)
        texts = [text for _, text, _ in together if text]
        heard = tuple(each for _, _, each in together if each is not None)
        messages.append(Message(role, "\n".join(texts), heard))
    return Talk(tuple(messages))


def _part(turn: object, name: str) -> tuple[str, str, Heard | None]:
    if not isinstance(turn, Mapping):
        raise FormError(f"{name}: {shown(turn)} is no turn with from, type and value")
    role = _ROLES.get(str(turn.get("from")).lower())
    if role is None:
        raise FormError(f"{name}.from: {shown(turn.get('from'))} is neither User nor Assistant")
    if turn.get("type") == "text":
        return role, text_of(turn, "value"), None
    if turn.get("type") != "audio":
        raise FormError(f"{name}.type: {shown(turn.get('type'))} is neither text nor audio")
    if turn.get("offset"):
        raise FormError(f"{name}.offset: parts of a recording are not cut here. Cut the file")
    return role, "", heard_at(turn.get("value"), name)


def _seconds(row: Row, name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, str):  # as tables have it
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FormError(f"{name}: {shown(value)} is no number of seconds")
    return float(value)
