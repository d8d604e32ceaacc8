"""Writes conversations and transcripts in the forms that other tools read."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import soundfile

from tasks.sources.forms.talk import AUDIO_TAG

FormName = Literal["ms-swift", "llama-factory", "openai", "hf-chat", "nemo"]
Part = dict[str, Any]
_INLINE = {b"RIFF": "wav", b"ID3": "mp3", b"\xff\xfb": "mp3"}
"""First bytes of a file -> the format that OpenAI's `input_audio` names."""


@dataclass(frozen=True)
class AudioFile:
    """A recording that was written for an export."""

    name: str
    """Path relative to the rows."""
    path: Path
    seconds: float


@dataclass(frozen=True)
class Said:
    """One message with the files that are heard in it."""

    role: str
    text: str
    audio: tuple[AudioFile, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A conversation, and the worse answer where it is a pair."""

    id: str
    split: str
    language: str | None
    messages: tuple[Said, ...]
    rejected: str | None = None

    @property
    def files(self) -> list[str]:
        """Names of the files of all messages in their order."""
        return [file.name for message in self.messages for file in message.audio]

    @property
    def about(self) -> dict[str, Any]:
        """What other tools leave aside, and reading it again takes up."""
        language = {} if self.language is None else {"language": self.language}
        return {"id": self.id, "split": self.split, **language}


Write = Callable[[Exported], dict[str, Any]]


def _tagged(message: Said) -> str:
    return AUDIO_TAG * len(message.audio) + message.text


def _ms_swift(talk: Exported) -> dict[str, Any]:
    messages = [{"role": said.role, "content": _tagged(said)} for said in talk.messages]
    rejected = {} if talk.rejected is None else {"rejected_response": talk.rejected}
    return {"messages": messages, **rejected, "audios": talk.files, **talk.about}


def _llama_factory(talk: Exported) -> dict[str, Any]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    turns = [{"from": names[said.role], "value": _tagged(said)} for said in talk.messages]
    if talk.rejected is None:
        return {"conversations": turns, "audios": talk.files, **talk.about}
    *asked, chosen = turns
    pair = {"chosen": chosen, "rejected": {"from": "gpt", "value": talk.rejected}}
    return {"conversations": asked, **pair, "audios": talk.files, **talk.about}


def _hf_chat(talk: Exported) -> dict[str, Any]:
    messages = [
        _in_parts(said, lambda file: {"type": "audio", "audio": file.name})
        for said in talk.messages
    ]
    if talk.rejected is None:
        return {"messages": messages, **talk.about}
    *asked, chosen = messages
    worse = {"role": "assistant", "content": [{"type": "text", "text": talk.rejected}]}
    return {"prompt": asked, "chosen": [chosen], "rejected": [worse], **talk.about}


def _openai(talk: Exported) -> dict[str, Any]:
    messages = [_in_parts(said, _inline) for said in talk.messages]
    for message in messages:
        if message["role"] != "user":  # only the user's content may have parts of audio
            message["content"] = "".join(part["text"] for part in message["content"])
    if talk.rejected is None:
        return {"messages": messages}
    *asked, chosen = messages
    worse = {"role": "assistant", "content": talk.rejected}
    return {
        "input": {"messages": asked},
        "preferred_output": [chosen],
        "non_preferred_output": [worse],
    }


def _in_parts(said: Said, part: Callable[[AudioFile], Part]) -> dict[str, Any]:
    parts = [part(file) for file in said.audio]
    if said.text:
        parts.append({"type": "text", "text": said.text})
    return {"role": said.role, "content": parts}


def _named(file: AudioFile) -> Part:
    return {"type": "audio", "audio": file.name}


def _inline(file: AudioFile) -> Part:
    data = file.path.read_bytes()
    kind = next((kind for begin, kind in _INLINE.items() if data.startswith(begin)), None)
    if kind is None:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
        data, kind = buffer.getvalue(), "wav"
    text = base64.b64encode(data).decode()
    return {"type": "input_audio", "input_audio": {"data": text, "format": kind}}


def _nemo(talk: Exported) -> dict[str, Any]:
    turns: list[Part] = []
    for said in talk.messages:
        role = said.role.capitalize()
        for file in said.audio:
            duration = round(file.seconds, 6)
            turns.append({"from": role, "type": "audio", "value": file.name, "duration": duration})
        if said.text:
            turns.append({"from": role, "type": "text", "value": said.text})
    return {**talk.about, "conversations": turns}


def nemo_speech(
    name: str, file: AudioFile, task: str, text: str, about: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return the row of a transcript or translation, with Canary's fields.

    Args:
        name: id of the row.
        about: split, language and target_language.
    """
    language = about["language"]
    target = about["target_language"] if task == "s2tt" else language
    return {
        "id": name,
        "audio_filepath": file.name,
        "duration": round(file.seconds, 6),
        "text": text,
        "lang": language,
        "source_lang": language,
        "target_lang": target,
        "taskname": "ast" if task == "s2tt" else "asr",
        "pnc": "yes",
        "split": about["split"],
    }


WRITERS: Mapping[FormName, Write] = {
    "ms-swift": _ms_swift,
    "llama-factory": _llama_factory,
    "openai": _openai,
    "hf-chat": _hf_chat,
    "nemo": _nemo,
}
"""By the name of the form."""
