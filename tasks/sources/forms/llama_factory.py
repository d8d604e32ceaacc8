"""Rows of LLaMA-Factory: ShareGPT and Alpaca, as `dataset_info.json` describes them.

https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.sources.forms.chat_parts import messages_of
from tasks.sources.forms.ms_swift import with_history
from tasks.sources.forms.talk import (
    AUDIO_TAG,
    FormError,
    Message,
    Row,
    Talk,
    place_tags,
    recordings_of,
    refuse_unlike,
    shown,
    text_of,
    with_answers,
)


class _Tags(BaseModel):
    role_tag: str = "from"
    content_tag: str = "value"
    user_tag: str = "human"
    assistant_tag: str = "gpt"
    system_tag: str = "system"


class DataSet(BaseModel):
    """One entry of `dataset_info.json`, as far as audio needs it."""

    model_config = ConfigDict(frozen=True)

    file_name: str | None = None
    """File beside `dataset_info.json`; None: a set of a hub."""
    formatting: Literal["alpaca", "sharegpt", "openai"] = "alpaca"
    ranking: bool = False
    columns: dict[str, str | None] = Field(default={})
    """The form's own name of a column -> that of the file."""
    tags: _Tags = _Tags()

    def read(self, row: Row) -> Talk:
        """Read a row of the set.

        Raises:
            FormError: a rule of the form is broken, such as the count of `<audio>`.
        """
        refuse_unlike(
            row,
            [name for key in ("images", "videos", "tools") if (name := self.columns.get(key))],
            "This model hears audio, reads text and calls no tools: leave the row out",
        )
        if (tag := self.columns.get("kto_tag")) and row.get(tag) is not None:
            raise FormError(f"{tag}: rows of KTO are not trained. Give pairs with ranking")
        is_alpaca = self.formatting == "alpaca"
        talk = self._alpaca(row) if is_alpaca else self._sharegpt(row)
        audios = self._column("audios", "audios")
        heard = recordings_of(row.get(audios), audios)
        num_tags = sum(message.text.count(AUDIO_TAG) for message in talk.messages)
        if num_tags != len(heard):
            raise FormError(
                f"the texts have {num_tags} {AUDIO_TAG}, {audios} has {len(heard)} recordings; "
                "the numbers must be equal"
            )
        return Talk(place_tags(talk.messages, heard), talk.rejected)

    def _column(self, key: str, default: str) -> str:
        return self.columns.get(key) or default

    def _alpaca(self, row: Row) -> Talk:
        prompt, query = self._column("prompt", "instruction"), self._column("query", "input")
        asked = "\n".join(text for name in (prompt, query) if (text := text_of(row, name)))
        renamed = {name: row.get(self._column(name, name)) for name in ("system", "history")}
        messages = tuple(with_history(renamed, asked))
        chosen, rejected = self._column("chosen", "chosen"), self._column("rejected", "rejected")
        if self.ranking:
            return with_answers(messages, text_of(row, chosen), text_of(row, rejected))
        answer = text_of(row, self._column("response", "output"))
        return Talk((*messages, Message("assistant", answer)))

    def _sharegpt(self, row: Row) -> Talk:
        name = self._column("messages", "conversations")
        turns = row.get(name)
        if not isinstance(turns, list):
            raise FormError(f"{name}: {shown(turns)} is no list of messages")
        messages = [self._message(turn, f"{name}.{i}") for i, turn in enumerate(turns)]
        if system := text_of(row, self._column("system", "system")):
            messages.insert(0, Message("system", system))
        if not self.ranking:
            return Talk(tuple(messages))
        chosen, rejected = (
            self._message(row.get(self._column(key, key)), key) for key in ("chosen", "rejected")
        )
        if {chosen.role, rejected.role} != {"assistant"}:
            raise FormError(f"chosen and rejected must both be of {self.tags.assistant_tag!r}")
        return with_answers(messages, chosen.text, rejected.text)

    def _message(self, turn: Any, name: str) -> Message:
        tags = self.tags
        if not isinstance(turn, Mapping):
            raise FormError(f"{name}: {shown(turn)} has no {tags.role_tag} and {tags.content_tag}")
        role = {
            tags.user_tag: "user", tags.assistant_tag: "assistant", tags.system_tag: "system"
        }.get(str(turn.get(tags.role_tag)))  # fmt: skip
        if role is None:
            raise FormError(
                f"{name}.{tags.role_tag}: {shown(turn.get(tags.role_tag))} is none of "
                f"{tags.user_tag}, {tags.assistant_tag}, {tags.system_tag}. Tools are not trained: "
                "leave the row out"
            )
        return Message(role, text_of(turn, tags.content_tag))


def is_sharegpt(row: Row) -> bool:
    """Whether a row has `conversations` of `from` and `value`, each a text."""
    turns = row.get("conversations")
    return isinstance(turns, list) and not any(
        isinstance(turn, Mapping) and "type" in turn for turn in turns
    )


def read_sharegpt(row: Row) -> Talk:
    """Read a row of ShareGPT that no `dataset_info.json` describes.

    Raises:
        FormError: like `DataSet.read`.
    """
    return DataSet(formatting="sharegpt", ranking="chosen" in row and "rejected" in row).read(row)


def is_alpaca_pair(row: Row) -> bool:
    """Whether a row is an instruction with two answers in words."""
    return "instruction" in row and "chosen" in row and "rejected" in row


def read_alpaca_pair(row: Row) -> Talk:
    """Read a pair of Alpaca's form that no `dataset_info.json` describes.

    Raises:
        FormError: like `DataSet.read`.
    """
    return DataSet(formatting="alpaca", ranking=True).read(row)


def is_v1(row: Row) -> bool:
    """Whether a row is a pair of the tool's version 1."""
    return "chosen_messages" in row and "rejected_messages" in row


def read_v1(row: Row) -> Talk:
    """Read a pair of the tool's version 1: two conversations that differ in their last answer.

    Raises:
        FormError: they differ before, or one ends otherwise.
    """
    chosen, rejected = (messages_of(row[f"{n}_messages"], n) for n in ("chosen", "rejected"))
    if not chosen or not rejected or chosen[:-1] != rejected[:-1]:
        raise FormError("chosen_messages and rejected_messages differ before their last answer")
    if rejected[-1].role != "assistant":
        raise FormError("rejected_messages: it does not end with an answer of the assistant")
    return Talk(tuple(chosen), rejected[-1].text)
