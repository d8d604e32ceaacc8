"""Single instrument notes rendered from two General MIDI sound fonts with FluidSynth."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from corpus_build.drafts import Draft
from corpus_build.encode import NOTE
from corpus_build.packages import HERE, Source, run, unpack

RENDER_RATE = 48_000
TICKS_PER_SECOND = 960
SLOT_SECONDS = 3
HELD_SECONDS = 1.0
KEPT_SECONDS = 1.3

FONTS = {
    "fluidr3": "usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "timgm6mb": "usr/share/sounds/sf2/TimGM6mb.sf2",
}
VELOCITIES = {"fluidr3": (70, 110), "timgm6mb": (90,)}
# Which of an instrument's twelve pitches, counted from the lowest, are not for training.
HELD_OUT_PITCHES = {
    "fluidr3": {2: "test", 6: "dev", 9: "test"},
    "timgm6mb": {1: "test", 4: "test", 7: "test", 10: "test"},
}


def _length(value: int) -> bytes:
    """MIDI variable-length quantity."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _midi_file(program: int, notes: list[tuple[int, int]]) -> bytes:
    """A Standard MIDI File that plays one (pitch, velocity) in each slot of three seconds."""
    held = round(HELD_SECONDS * TICKS_PER_SECOND)
    rest = SLOT_SECONDS * TICKS_PER_SECOND - held
    track = b"\x00" + bytes([0xC0, program])
    for number, (pitch, velocity) in enumerate(notes):
        track += _length(rest if number else 0) + bytes([0x90, pitch, velocity])
        track += _length(held) + bytes([0x80, pitch, 0])
    track += _length(rest) + b"\xff\x2f\x00"
    # 480 ticks a quarter note at MIDI's default of 120 quarter notes a minute.
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1]) + (480).to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _render(font: Path, program: int, notes: list[tuple[int, int]], stem: Path) -> None:
    """Render the notes and cut them into one WAV file each, STEM-PITCH-VELOCITY.wav."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    score, sound = stem.with_suffix(".mid"), stem.with_suffix(".all.wav")
    score.write_bytes(_midi_file(program, notes))
    run(["fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(RENDER_RATE),
         "-T", "wav", "-F", str(sound), str(font), str(score)])  # fmt: skip
    samples, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    kept = round(KEPT_SECONDS * RENDER_RATE)
    fade = np.ones(kept, dtype=np.float32)
    fade[round(HELD_SECONDS * RENDER_RATE) :] = np.linspace(
        1.0, 0.0, kept - round(HELD_SECONDS * RENDER_RATE), dtype=np.float32
    )
    for number, (pitch, velocity) in enumerate(notes):
        start = number * SLOT_SECONDS * RENDER_RATE
        note = mono[start : start + kept] * fade
        soundfile.write(f"{stem}-{pitch}-{velocity}.wav", note, RENDER_RATE, subtype="PCM_24")
    sound.unlink()


def _pitches(instrument: dict[str, Any], font: str) -> dict[int, str]:
    """Split of each pitch that is rendered: training uses one font only."""
    held_out = HELD_OUT_PITCHES[font]
    return {
        pitch: held_out.get(index, "train")
        for index, pitch in enumerate(instrument["pitches"])
        if font == "fluidr3" or index in held_out
    }


def note_drafts(sources: dict[str, Source], work: Path) -> Iterator[Draft]:
    """Every instrument by both fonts."""
    instruments = json.loads((HERE / "instruments.json").read_text(encoding="utf-8"))
    for font, font_path in FONTS.items():
        source = sources[font]
        font_file = unpack(source.packages[0], work) / font_path
        for instrument in instruments:
            name = instrument["name"].replace(" ", "_")
            splits = _pitches(instrument, font)
            notes = [(pitch, velocity) for pitch in splits for velocity in VELOCITIES[font]]
            stem = work / "notes" / font / name
            if not Path(f"{stem}-{notes[-1][0]}-{notes[-1][1]}.wav").exists():
                _render(font_file, instrument["program"], notes, stem)
            for pitch, velocity in notes:
                yield Draft(
                    id=f"note-{font}-{name}-{pitch}-{velocity}",
                    origin=Path(f"{stem}-{pitch}-{velocity}.wav"),
                    folder=font,
                    coding=NOTE,
                    targets={"instrument": instrument["name"], "family": instrument["family"]},
                    language=None,
                    speaker=None,
                    split=splits[pitch],
                    phrase=f"{name}-{pitch}-{font}",
                    kind="note",
                    source=font,
                    license=source.license,
                )
