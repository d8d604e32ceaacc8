"""Preference pairs of one's own: `{prompt, audios, chosen, rejected}`, TRL's names with audio.

`prompt` is a text or a list of messages; `chosen` and `rejected` are texts or lists of one message.
"""

from collections.abc import Mapping
from typing import Any

from tasks.sources.forms.chat_parts import messages_of
from tasks.sources.forms.talk import (
    FormError,
    Message,
    Row,
    Talk,
    place_tags,
    recordings_of,
    shown,
    with_answers,
)


def is_pair(row: Row) -> bool:
    """Whether a row has two answers to compare."""
    return "chosen" in row and "rejected" in row


def read_pair(row: Row) -> Talk:
    """Read a pair; a prompt that is not given is what both answers begin with.

    Raises:
        FormError: an answer is missing or is no answer, or the prompt is no prompt.
    """
    chosen, rejected = (_said(row[name], name) for name in ("chosen", "rejected"))
    prompt = row.get("prompt")
    if prompt is None:
        asked = chosen[:-1]
        if asked != rejected[:-1]:
            raise FormError("chosen and rejected differ before their last answer; give a prompt")
        chosen, rejected = chosen[-1:], rejected[-1:]
    elif isinstance(prompt, str):
        asked = [Message("user", prompt)]
    else:
        asked = messages_of(prompt, "prompt")
    answers = []
    for name, said in (("chosen", chosen), ("rejected", rejected)):
        if len(said) != 1 or said[0].role != "assistant" or said[0].audio:
            raise FormError(f"{name}: it is not one answer of the assistant in words")
        answers.append(said[0].text)
    if not any(message.audio for message in asked):
        name = "audios" if row.get("audios") else "audio"
        asked = list(place_tags(asked, recordings_of(row.get(name), name)))
    return with_answers(asked, *answers)


def _said(value: Any, name: str) -> list[Message]:
    if isinstance(value, str):
        return [Message("assistant", value)]
    if isinstance(value, Mapping):
        return messages_of([value], name)
    if not value:
        raise FormError(f"{name}: {shown(value)} is no answer")
    return messages_of(value, name)
