"""Rows in the layouts that other tools document, with the conversation that each one means.

The layouts are those of the documents that the modules of `tasks/sources/forms/` name.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.records import Clip
from tasks.sources.manifest import DataSource
from tests.support.recordings import sound_file, tone

NAMES = ("a", "b", "c")


class Meaning(NamedTuple):
    """A conversation as (role, text, names of the recordings), and the worse answer."""

    turns: tuple[tuple[str, str, tuple[str, ...]], ...]
    rejected: str | None = None


def audio_bytes(name: str) -> bytes:
    """Half a second of a tone, another one for each name."""
    return sound_file(tone(0.5, 300 + 50 * NAMES.index(name)))


def spelled(name: str) -> str:
    """The recording in base64."""
    return base64.b64encode(audio_bytes(name)).decode()


def write_recordings(folder: Path) -> None:
    """Write `NAME.wav` for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / f"{name}.wav").write_bytes(audio_bytes(name))


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "rows") -> DataSource:
    """Write rows as JSONL beside their recordings."""
    write_recordings(folder)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return DataSource(manifest=str(path))


def meaning_of(clips: Sequence[Clip], bytes_of: Mapping[str, bytes]) -> Meaning:
    """The conversation of the first clip; recordings by the name whose bytes they have."""
    names = {audio_bytes(name): name for name in NAMES}
    turns = tuple(
        (turn.role, turn.text, tuple(names[bytes_of[clip]] for clip in turn.audio))
        for turn in clips[0].conversation
    )
    return Meaning(turns, clips[0].rejected)


def _user(text: str, *names: str) -> tuple[str, str, tuple[str, ...]]:
    return "user", text, names


def _says(text: str) -> tuple[str, str, tuple[str, ...]]:
    return "assistant", text, ()


_BIRD = Meaning((_user("Which bird?", "a"), _says("A wren.")))
_PAIR = Meaning(_BIRD.turns, "A dog.")
_ASKED = {"role": "user", "content": "<audio>Which bird?"}
_WREN, _DOG = ({"role": "assistant", "content": text} for text in ("A wren.", "A dog."))

CASES: dict[str, tuple[str, dict[str, Any], Meaning]] = {
    "messages": ("ms-swift", {"messages": [_ASKED, _WREN], "audios": ["a.wav"]}, _BIRD),
    "one audio": ("ms-swift", {"messages": [_ASKED, _WREN], "audio": "a.wav"}, _BIRD),
    "several turns and recordings": (
        "ms-swift",
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "<audio><audio>Same bird?"},
                {"role": "assistant", "content": "No."},
                {"role": "user", "content": "<audio>\nAnd here?"},
                {"role": "assistant", "content": "Yes."},
            ],
            "audios": ["a.wav", "b.wav", "c.wav"],
        },
        Meaning(
            (
                ("system", "Be brief.", ()),
                _user("Same bird?", "a", "b"),
                _says("No."),
                _user("\nAnd here?", "c"),
                _says("Yes."),
            )
        ),
    ),
    "a missing tag stands in front of the first message": (
        "ms-swift",
        {"messages": [{"role": "user", "content": "Which bird?"}, _WREN], "audios": ["a.wav"]},
        _BIRD,
    ),
    "missing tags stand in front of those that are there, and behind a system message": (
        "ms-swift",
        {
            "messages": [{"role": "system", "content": "Be brief."}, _ASKED, _WREN],
            "audios": ["b.wav", "a.wav"],
        },
        Meaning((("system", "Be brief.", ()), _user("Which bird?", "b", "a"), _says("A wren."))),
    ),
    "a data URI": (
        "ms-swift",
        {"messages": [_ASKED, _WREN], "audios": [f"data:audio/wav;base64,{spelled('a')}"]},
        _BIRD,
    ),
    "rejected response": (
        "ms-swift",
        {"messages": [_ASKED, _WREN], "rejected_response": "A dog.", "audios": ["a.wav"]},
        _PAIR,
    ),
    "rejected response as messages": (
        "ms-swift",
        {"messages": [_ASKED, _WREN], "rejected_response": [_DOG], "audios": ["a.wav"]},
        _PAIR,
    ),
    "rejected messages": (
        "ms-swift",
        {
            "messages": [_ASKED, _WREN], "audios": ["a.wav"],
            "rejected_messages": [_ASKED, _DOG], "rejected_audios": ["a.wav"],
        },
        _PAIR,
    ),
    "query and response": (
        "ms-swift-query",
        {
            "system": "Be brief.",
            "query": "<audio>Where?",
            "response": "There.",
            "history": [["<audio>Which bird?", "A wren."]],
            "audios": ["a.wav", "b.wav"],
        },
        Meaning(
            (
                ("system", "Be brief.", ()),
                *_BIRD.turns,
                _user("Where?", "b"),
                _says("There."),
            )
        ),
    ),
    "Alpaca": (
        "ms-swift-query",
        {"instruction": "Look.", "input": "Which bird?", "output": "A wren.", "audios": ["a.wav"]},
        Meaning((_user("Look.\nWhich bird?", "a"), _says("A wren."))),
    ),
    "human and assistant": (
        "ms-swift-conversation",
        {
            "conversation": [{"human": "<audio>Which bird?", "assistant": "A wren."}],
            "audios": ["a.wav"],
        },
        _BIRD,
    ),
    "ShareGPT": (
        "llama-factory",
        {
            "conversations": [
                {"from": "human", "value": "<audio>Which bird?"},
                {"from": "gpt", "value": "A wren."},
            ],
            "audios": ["a.wav"],
        },
        _BIRD,
    ),
    "ShareGPT pair": (
        "llama-factory",
        {
            "conversations": [{"from": "human", "value": "<audio>Which bird?"}],
            "chosen": {"from": "gpt", "value": "A wren."},
            "rejected": {"from": "gpt", "value": "A dog."},
            "audios": ["a.wav"],
        },
        _PAIR,
    ),
    "Alpaca pair": (
        "alpaca-pair",
        {
            "instruction": "<audio>Which bird?",
            "chosen": "A wren.",
            "rejected": "A dog.",
            "audios": ["a.wav"],
        },
        _PAIR,
    ),
    "LLaMA-Factory's version 1": (
        "llama-factory-v1",
        {
            f"{name}_messages": [
                {"role": "user", "content": [
                    {"type": "audio_url", "value": "a.wav"},
                    {"type": "text", "value": "Which bird?"},
                ]},
                {"role": "assistant", "content": [{"type": "text", "value": text}]},
            ]
            for name, text in (("chosen", "A wren."), ("rejected", "A dog."))
        },
        _PAIR,
    ),
    "OpenAI's input_audio": (
        "openai",
        {
            "messages": [
                {"role": "user", "content": [
                    {"type": "input_audio", "input_audio": {"data": spelled("a"), "format": "wav"}},
                    {"type": "text", "text": "Which bird?"},
                ]},
                _WREN,
            ]
        },
        _BIRD,
    ),
    "OpenAI's audio_url": (
        "openai",
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "Which bird?"},
                    {"type": "audio_url", "audio_url": {"url": "a.wav"}},
                ]},
                _WREN,
            ]
        },
        Meaning((("system", "Be brief.", ()), *_BIRD.turns)),
    ),
    "OpenAI's preferences": (
        "openai-preference",
        {
            "input": {
                "messages": [
                    {"role": "user", "content": [
                        {"type": "input_audio",
                         "input_audio": {"data": spelled("a"), "format": "wav"}},
                        {"type": "text", "text": "Which bird?"},
                    ]}
                ],
                "tools": [],
            },
            "preferred_output": [_WREN],
            "non_preferred_output": [_DOG],
        },
        _PAIR,
    ),
    **{
        f"a Hugging Face chat with {key}": (
            "hf-chat",
            {
                "messages": [
                    {"role": "user", "content": [
                        {"type": "audio", key: "a.wav"}, {"type": "text", "text": "Which bird?"}
                    ]},
                    {"role": "assistant", "content": [{"type": "text", "text": "A wren."}]},
                ]
            },
            _BIRD,
        )
        for key in ("audio", "path", "url")
    },
    "a NeMo conversation": (
        "nemo-conversation",
        {
            "id": "c1",
            "conversations": [
                {"from": "User", "type": "audio", "value": "a.wav", "duration": 0.5},
                {"from": "User", "type": "text", "value": "Which bird?"},
                {"from": "Assistant", "type": "text", "value": "A wren."},
            ],
        },
        _BIRD,
    ),
    "a pair of one's own": (
        "pair",
        {"prompt": "Which bird?", "chosen": "A wren.", "rejected": "A dog.", "audios": ["a.wav"]},
        _PAIR,
    ),
    "TRL's conversational pair": (
        "pair",
        {"prompt": [_ASKED], "chosen": [_WREN], "rejected": [_DOG], "audio": "a.wav"},
        _PAIR,
    ),
    "TRL's implicit prompt": (
        "pair",
        {"chosen": [_ASKED, _WREN], "rejected": [_ASKED, _DOG], "audios": ["a.wav"]},
        _PAIR,
    ),
}  # fmt: skip
"""What it is -> name of the form, row, meaning."""
