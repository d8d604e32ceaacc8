"""What every form of a conversation is read into, and the rules that all of them share.

Messages of errors are part of a source's digest (`manifest.source_digest`): they stay as they are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

Row = Mapping[str, Any]
"""A row of another tool, as it was parsed."""
AUDIO_TAG = "<audio>"
"""Place of a recording in a text, in ms-swift and LLaMA-Factory."""
_ROLES = re.compile(r"(system )?(user assistant )*user assistant")
_CONTROL = re.compile(r"<\|(?:endoftext|im_start|im_end|audio_bos|AUDIO|audio_eos)\|>")
_DATA_URI = re.compile(r"data:[^,]*;base64,")
_SHOWN = 80


class FormError(ValueError):
    """A row that has a known form and breaks one of its rules: field, value, rule, remedy."""


@dataclass(frozen=True)
class Inline:
    """A recording that is written into its row."""

    base64: str


Heard = str | Inline
"""Location of a recording, or the recording itself."""


@dataclass(frozen=True)
class Message:
    """One message: what is heard in it, then its text."""

    role: str
    text: str = ""
    audio: tuple[Heard, ...] = ()


@dataclass(frozen=True)
class Talk:
    """A conversation, and the answer that is worse than its last one where it is a pair."""

    messages: tuple[Message, ...]
    rejected: str | None = None

    @property
    def heard(self) -> list[Heard]:
        """Recordings of all messages in their order."""
        return list(chain.from_iterable(message.audio for message in self.messages))


def shown(value: object) -> str:
    """Show the beginning of a value in a message."""
    return f"{value!r:.{_SHOWN}}"


def text_of(row: Row, name: str) -> str:
    """Return a field that must be text; a missing one is "".

    Raises:
        FormError: it is something else.
    """
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormError(f"{name}: it is no text (got {shown(value)}). Write a text")
    return value


def recordings_of(value: object, name: str) -> list[Heard]:
    """Return the recordings that a field names: a location or `data:` URI, or a list of them.

    Raises:
        FormError: it is something else.
    """
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return [heard_at(each, name) for each in values]


def heard_at(value: object, name: str) -> Heard:
    """Return a recording by its path, URL or `data:` URI; `{"path": ...}` counts as its path.

    Raises:
        FormError: it is something else.
    """
    if isinstance(value, Mapping) and isinstance(value.get("path"), str):
        value = value["path"]
    if not isinstance(value, str) or not value:
        raise FormError(f"{name}: {shown(value)} is no path, URL or data: URI of a recording")
    if match := _DATA_URI.match(value):
        return Inline(value[match.end() :])
    return value


def place_tags(messages: Sequence[Message], heard: Sequence[Heard]) -> tuple[Message, ...]:
    """Give the `<audio>` tags of some messages their recordings, in order.

    Tags that are missing stand in front of the first message of the user: ms-swift puts them in
    front of the first message, but in a system message nothing can be heard. A recording that
    stands behind words is heard before them, as ChatML renders a turn.

    Raises:
        FormError: there are more tags than recordings, or one in the words of the assistant.
    """
    num_tags = sum(message.text.count(AUDIO_TAG) for message in messages)
    if num_tags > len(heard):
        raise FormError(f"the texts have {num_tags} {AUDIO_TAG}, the row has {len(heard)} audios")
    missing = len(heard) - num_tags
    remaining, placed = iter(heard), []
    for message in messages:
        count = message.text.count(AUDIO_TAG)
        if message.role == "user":
            count, missing = count + missing, 0
        audio = tuple(next(remaining) for _ in range(count))
        placed.append(replace(message, text=message.text.replace(AUDIO_TAG, ""), audio=audio))
    return tuple(placed)


def with_answers(messages: Iterable[Message], chosen: str, rejected: str) -> Talk:
    """Return the talk whose last answer is the preferred one of a pair."""
    return Talk((*messages, Message("assistant", chosen)), rejected)


def refuse_unlike(row: Row, names: Iterable[str], remedy: str) -> None:
    """Refuse a row that has a value where this model can't use one.

    Raises:
        FormError: the first such field.
    """
    for name in names:
        if row.get(name) not in (None, "", [], {}):
            raise FormError(f"{name}: {shown(row[name])} can't be used. {remedy}")


def check_talk(talk: Talk) -> None:
    """Refuse a conversation that could not be trained on.

    Raises:
        FormError: turns out of order, nothing to hear or to learn, audio that nobody hears.
    """
    roles = " ".join(message.role for message in talk.messages)
    if not _ROLES.fullmatch(roles):
        raise FormError(
            f"the roles are {shown(roles)}; wanted is at most one system message, then user and "
            "assistant in turn, the assistant last. Reorder them, or leave the row out"
        )
    if not talk.heard:
        raise FormError("no recording is named; name one in audios, or leave the row out")
    for message in talk.messages:
        if message.audio and message.role != "user":
            raise FormError(f"a message of the {message.role} has audio; move it to the user's")
        if message.role == "assistant" and not message.text.strip():
            raise FormError("an answer of the assistant is empty. Write it, or leave the row out")
        if match := _CONTROL.search(message.text):
            raise FormError(f"a text has the control token {match[0]}; write {AUDIO_TAG} for audio")
    if match := _CONTROL.search(talk.rejected or ""):
        raise FormError(f"the rejected answer has the control token {match[0]}. Remove it")
