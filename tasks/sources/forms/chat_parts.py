"""Messages as chats have them: a text, or a list of parts, of which some are audio.

OpenAI's parts are `text`, `input_audio` (base64) and, in vLLM, `audio_url`; those of Hugging Face's
chat templates have the key `audio`, `audio_url`, `path` or `url` of a part of the type `audio`.
https://platform.openai.com/docs/guides/audio, https://huggingface.co/docs/transformers/chat_templating_multimodal
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.sources.forms.talk import (
    FormError,
    Heard,
    Inline,
    Message,
    Row,
    Talk,
    heard_at,
    shown,
    with_answers,
)

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_AUDIO_KEYS = ("audio", "audio_url", "path", "url", "value")
"""Keys of a Hugging Face part that hold its location; the first that is there counts."""


def is_in_parts(row: Row) -> bool:
    """Whether a message of a row has a list of parts as its content."""
    messages = row.get("messages")
    return isinstance(messages, list) and any(
        isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for message in messages
    )


def is_openai(row: Row) -> bool:
    """Whether a part of a message is one of OpenAI's."""
    return is_in_parts(row) and any(
        isinstance(part, Mapping) and part.get("type") in ("input_audio", "audio_url")
        for message in row["messages"]
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def messages_of(value: object, name: str = "messages") -> list[Message]:
    """Read a list of `{"role", "content"}`.

    Raises:
        FormError: naming the message and the rule.
    """
    if not isinstance(value, list):
        raise FormError(f"{name}: {shown(value)} is no list of messages")
    return [_message(message, f"{name}.{number}") for number, message in enumerate(value)]


def _message(message: object, name: str) -> Message:
    if not isinstance(message, Mapping):
        raise FormError(f"{name}: {shown(message)} is no message with role and content")
    role = ROLES.get(str(message.get("role")))
    if role is None:
        raise FormError(
            f"{name}.role: {shown(message.get('role'))} is none of {', '.join(ROLES)}. Tools are "
            "not trained: leave the row out"
        )
    if message.get("tool_calls"):
        raise FormError(f"{name}.tool_calls: tools are not trained. Leave the row out")
    if message.get("loss") in (False, 0) and role == "assistant" and "loss" in message:
        raise FormError(f"{name}.loss: every answer is learned. Leave out what is not to be")
    if message.get("loss_scale") not in (None, 1):
        raise FormError(f"{name}.loss_scale: every answer counts the same. Remove loss_scale")
    content = message.get("content")
    if isinstance(content, str):
        return Message(role, content)
    if not isinstance(content, list):
        raise FormError(f"{name}.content: {shown(content)} is neither text nor a list of parts")
    heard, texts = [], []
    for number, part in enumerate(content):
        for each in _part(part, f"{name}.content.{number}"):
            texts.append(each[0])
            heard += each[1]
    return Message(role, "".join(texts), tuple(heard))


def _part(part: Any, name: str) -> Iterator[tuple[str, list[Heard]]]:
    if isinstance(part, str):
        yield part, []
        return
    if not isinstance(part, Mapping):
        raise FormError(f"{name}: {shown(part)} is no part of a message")
    kind = part.get("type")
    if kind == "text" or (kind is None and "text" in part):
        text = part.get("text", part.get("value"))
        if not isinstance(text, str):
            raise FormError(f"{name}.text: it is no text (got {shown(text)})")
        yield text, []
    elif kind == "input_audio":
        data = part.get("input_audio")
        if not (isinstance(data, Mapping) and isinstance(data.get("data"), str) and data["data"]):
            raise FormError(f"{name}.input_audio: it has no data in base64")
        yield "", [Inline(data["data"].partition("base64,")[2] or data["data"])]
    elif kind in ("audio", "audio_url"):
        key = next((key for key in _AUDIO_KEYS if part.get(key) is not None), None)
        value = part.get(key or "")
        if isinstance(value, Mapping) and isinstance(value.get("url"), str):
            value = value["url"]
        yield "", [heard_at(value, name)]
    else:
        raise FormError(
            f"{name}.type: {shown(kind)} is none of text, audio, audio_url, input_audio"
        )


def is_preference(row: Row) -> bool:
    """Whether a row is one of OpenAI's preference fine-tuning."""
    asked = row.get("input")
    return isinstance(asked, Mapping) and "messages" in asked and "preferred_output" in row


def read_preference(row: Row) -> Talk:
    """Read a prompt with its preferred and its other answer.

    Raises:
        FormError: naming the field and the rule.
    """
    chosen = answer_of(row.get("preferred_output"), "preferred_output")
    rejected = answer_of(row.get("non_preferred_output"), "non_preferred_output")
    return with_answers(messages_of(row["input"]["messages"], "input.messages"), chosen, rejected)


def answer_of(value: object, name: str) -> str:
    """Return the one answer of a list of messages, or the text that it is.

    Raises:
        FormError: it is neither.
    """
    if isinstance(value, str):
        return value
    said = messages_of(value, name)
    if len(said) != 1 or said[0].role != "assistant" or said[0].audio:
        raise FormError(f"{name}: it is not one answer of the assistant in words")
    return said[0].text
