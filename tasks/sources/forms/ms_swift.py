"""Rows of ms-swift: `messages` with `<audio>` tags, or a query and its response.

https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.sources.forms.chat_parts import messages_of
from tasks.sources.forms.talk import (
    AUDIO_TAG,
    FormError,
    Heard,
    Message,
    Row,
    Talk,
    place_tags,
    recordings_of,
    refuse_unlike,
    shown,
    text_of,
)

_QUERIES = ("query", "prompt", "input", "instruction", "question", "problem")
_RESPONSES = ("response", "answer", "output", "target", "text", "completion", "solution")
_OTHER_MEDIA = ("images", "image", "videos", "video", "rejected_images", "rejected_videos")
_HEARS = "This model hears audio and reads text: leave the row out"


def has_messages(row: Row) -> bool:
    """Whether a row has the standard form."""
    return isinstance(row.get("messages"), list)


def read_messages(row: Row) -> Talk:
    """Read the standard form, with a rejected answer where the row is a pair.

    Contents may be lists of parts too, as OpenAI's and Hugging Face's chats have them.

    Raises:
        FormError: a rule of the form, or of what can be trained on, is broken.
    """
    _refuse_others(row)
    messages = messages_of(row["messages"])
    in_parts = any(message.audio for message in messages)
    heard = _audios(row)
    if in_parts and heard:
        raise FormError("the recordings stand in contents and in audios; name each only once")
    if not in_parts:
        messages = list(place_tags(messages, heard))
    return Talk(tuple(messages), _rejected(row, messages))


def has_query(row: Row) -> bool:
    """Whether a row has a query and a response by one of their names."""
    return any(name in row for name in _QUERIES) and any(name in row for name in _RESPONSES)


def read_query(row: Row) -> Talk:
    """Read a query with its response, the exchanges before it and a system message.

    Alpaca's `instruction` and `input` are one query of two lines.

    Raises:
        FormError: like `read_messages`.
    """
    _refuse_others(row)
    messages = list(with_history(row, _query(row)))
    name = next(name for name in _RESPONSES if name in row)
    messages.append(Message("assistant", text_of(row, name)))
    placed = place_tags(messages, _audios(row))
    return Talk(placed, _rejected(row, placed))


def with_history(row: Row, query: str) -> Iterator[Message]:
    """Yield the system message, the exchanges of `history` and the query.

    Raises:
        FormError: `history` is no list of pairs of texts.
    """
    if system := text_of(row, "system"):
        yield Message("system", system)
    for pair in row.get("history") or []:
        if not (isinstance(pair, list) and [type(text) for text in pair] == [str, str]):
            raise FormError(f"history: {shown(pair)} is no pair of a question and its answer")
        yield Message("user", pair[0])
        yield Message("assistant", pair[1])
    yield Message("user", query)


def has_exchanges(row: Row) -> bool:
    """Whether a row has `conversation`: objects of what the human and the assistant say."""
    turns = row.get("conversation")
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, Mapping) and {"human", "assistant"} <= first.keys()


def read_exchanges(row: Row) -> Talk:
    """Read a list of exchanges.

    Raises:
        FormError: like `read_messages`.
    """
    _refuse_others(row)
    messages = [Message("system", system)] if (system := text_of(row, "system")) else []
    for number, turn in enumerate(row["conversation"]):
        if not isinstance(turn, Mapping):
            raise FormError(f"conversation.{number}: {shown(turn)} is no exchange")
        messages.append(Message("user", text_of(turn, "human")))
        messages.append(Message("assistant", text_of(turn, "assistant")))
    placed = place_tags(messages, _audios(row))
    return Talk(placed, _rejected(row, placed))


def _query(row: Row) -> str:
    if "instruction" in row and row.get("input"):
        return f"{text_of(row, 'instruction')}\n{text_of(row, 'input')}"
    return text_of(row, next(name for name in _QUERIES if row.get(name) or name in row))


def _audios(row: Row) -> list[Heard]:
    name = "audios" if row.get("audios") else "audio"
    return recordings_of(row.get(name), name)


def _refuse_others(row: Row) -> None:
    """Refuse rows of other models and other trainings.

    Raises:
        FormError: naming the field.
    """
    refuse_unlike(row, _OTHER_MEDIA, _HEARS)
    refuse_unlike(row, ("tools",), "Tools are not trained: leave the row out")
    if (others := row.get("rejected_audios")) and others != (row.get("audios") or row.get("audio")):
        raise FormError(
            f"rejected_audios: {shown(others)} differ from audios. Both answers of a pair are to "
            "the same audio: leave the row out"
        )
    if isinstance(row.get("label"), bool):
        raise FormError(
            f"label: {row['label']} marks a row of KTO, which is not trained. Give pairs with "
            "rejected_response, or remove label from the good answers and leave out the others"
        )


def _rejected(row: Row, messages: Sequence[Message]) -> str | None:
    """Text of the worse answer, which is given alone or after all messages before it."""
    for name in ("rejected_messages", "rejected_response"):
        value: Any = row.get(name)
        if isinstance(value, list):
            *before, last = messages_of(value, name) or [Message("none")]
            if last.role != "assistant":
                raise FormError(f"{name}: it does not end with an answer of the assistant")
            if before and _words(before) != _words(messages[:-1]):
                raise FormError(f"{name}: only the last answer may differ from that of messages")
            return last.text
        if value is not None:
            return text_of(row, name)
    return None


def _words(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.text.replace(AUDIO_TAG, "")) for message in messages]
