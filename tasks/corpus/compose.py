"""Clips made of other clips: digit strings of one voice, and sounds with a spoken command.

Nothing mixed is shipped with the corpus: compositions are planned here from single recordings and
made when the shards are written. The plan is a function of the manifest and the recipe alone.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from data_contracts.recipe import Recipe
from data_contracts.records import Clip, Split
from model.audio import SAMPLE_RATE
from tasks.conversations.prompts import answer_to_command
from tasks.conversations.stream_sampling import Reservoir
from tasks.conversations.task_table import TaskTable
from tasks.sources.manifest import DataSourceError

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]

_DIGITS = frozenset("0123456789")
_PART_KINDS = frozenset({"digit", "sound", "note", "command"})
_PREFIXES = ("digits-", "command-")
"""Prefixes of the ids of compositions."""


class ComposeRecipe(Recipe):
    """Number of clips that are composed, and how."""

    digit_strings: dict[Split, Count] = Field(default={"train": 2000, "dev": 60, "test": 150})
    """Number of digit strings, by split."""
    max_digits: int = Field(4, ge=1)
    """Most digits of a string."""
    pause_seconds: tuple[Seconds, Seconds] = (0.03, 0.2)
    """Shortest and longest pause between digits, seconds."""
    spoken_commands: dict[Split, Count] = Field(default={"train": 400, "dev": 40, "test": 100})
    """Number of sounds mixed with a spoken command, by split."""
    snr_db: tuple[float, ...] = Field((0.0, 5.0, 10.0), min_length=1)
    """Level of the command above the sound, dB; drawn evenly."""
    command_delay_seconds: float = Field(0.4, ge=0)
    """Seconds of the sound alone before the command begins."""
    max_parts: int = Field(20_000, ge=1)
    """Most recordings of a split and kind, drawn evenly, that compositions are made of."""
    seed: int = 0
    """Seed of all draws."""


class Combination(Protocol):
    """Function that turns the waveforms of the parts into one."""

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Combine float32 waveforms [num_samples] into one."""
        ...


@dataclass(frozen=True)
class Joined:
    """The parts one after the other."""

    pauses_seconds: tuple[float, ...]
    """Pause after each part but the last."""

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Concatenate the parts, with silence between them."""
        pieces: list[np.ndarray] = []
        for part, pause in zip(parts, (*self.pauses_seconds, 0.0), strict=True):
            pieces += [part, np.zeros(round(pause * SAMPLE_RATE), np.float32)]
        return np.concatenate(pieces)


@dataclass(frozen=True)
class Overlaid:
    """A sound, and over it a command that begins after a delay."""

    snr_db: float
    """Level of the command above the sound."""
    delay_seconds: float

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Scale the sound so that the command's RMS is `snr_db` above the sound's; then add."""
        sound, command = parts
        gain = _rms(command) / (_rms(sound) * 10 ** (self.snr_db / 20))
        delay = round(self.delay_seconds * SAMPLE_RATE)
        mixed = np.zeros(max(len(sound), delay + len(command)), np.float32)
        mixed[: len(sound)] += np.float32(gain) * sound
        mixed[delay : delay + len(command)] += command
        peak = float(np.abs(mixed).max())
        return mixed / np.float32(peak) if peak > 1 else mixed


@dataclass(frozen=True)
class Composition:
    """A clip that is to be made. A plain recording is a composition of one part."""

    clip: Clip
    parts: tuple[Clip, ...]
    combine: Combination


def plain(clip: Clip) -> Composition:
    """Return the composition that is the recording itself."""
    return Composition(clip, (clip,), Joined(()))


def plan_compositions(
    clips: Iterable[Clip], tasks: TaskTable, recipe: ComposeRecipe
) -> list[Composition]:
    """Plan all compositions of a manifest, in a fixed order. Parts never come from two splits.

    Only what can be a part is held in memory, at most `recipe.max_parts` of each split and kind.

    Raises:
        DataSourceError: a recording has an id that a composition would get.
    """
    pools: dict[tuple[str, str], Reservoir[Clip]] = {}
    suspected = set()
    for clip in clips:
        if clip.id.startswith(_PREFIXES):
            suspected.add(clip.id)
        if clip.kind in _PART_KINDS:
            key = (clip.split, clip.kind)
            if key not in pools:
                draw = random.Random(f"parts {key} {recipe.seed}")
                pools[key] = Reservoir(draw, recipe.max_parts)
            pools[key].offer(clip)
    parts = [clip for pool in pools.values() for clip in pool.kept()]
    planned = plan_digit_strings(parts, recipe) + plan_spoken_commands(parts, tasks, recipe)
    if taken := sorted(suspected & {made.clip.id for made in planned}):
        raise DataSourceError(
            f"{len(taken)} manifest rows have ids that composed clips get, e.g. {taken[:3]}. "
            "Rename them, or compose none with ingest.compose.digit_strings and spoken_commands."
        )
    return planned


def plan_digit_strings(clips: Sequence[Clip], recipe: ComposeRecipe) -> list[Composition]:
    """Plan strings of 1 to `max_digits` digits, each of one voice that has all ten digits.

    Lengths and digits are drawn evenly, voices take turns; the answer is written "3 0 7".
    """
    planned = []
    for split, count in sorted(recipe.digit_strings.items()):
        voices = _digit_voices(clips, split)
        if not voices:
            continue
        draw = random.Random(f"digits {split} {recipe.seed}")
        for i in range(count):
            speaker = sorted(voices)[i % len(voices)]
            digits = [draw.randrange(10) for _ in range(draw.randint(1, recipe.max_digits))]
            parts = tuple(draw.choice(voices[speaker][str(digit)]) for digit in digits)
            pauses = tuple(round(draw.uniform(*recipe.pause_seconds), 3) for _ in digits[1:])
            text = " ".join(map(str, digits))
            labels = {"targets": {"digits": text}}
            clip = _composed(f"digits-{split}-{i:05d}", parts, "digit", labels)
            planned.append(Composition(clip, parts, Joined(pauses)))
    return planned


def plan_spoken_commands(
    clips: Sequence[Clip], tasks: TaskTable, recipe: ComposeRecipe
) -> list[Composition]:
    """Plan sounds and notes with a spoken command over them; targets are those of the sound.

    Each command is drawn with a sound for which it has an answer. Its words are kept as the clip's
    phrase, which says what is asked.
    """
    planned = []
    for split, count in sorted(recipe.spoken_commands.items()):
        sounds = [c for c in clips if c.split == split and c.kind in ("sound", "note")]
        commands = [c for c in clips if c.split == split and c.kind == "command"]
        pools = {
            phrase: [s for s in sounds if answer_to_command(tasks, phrase, s.targets)]
            for phrase in {command.phrase or "" for command in commands}
        }
        usable = [(c, pool) for c in commands if (pool := pools[c.phrase or ""])]
        draw = random.Random(f"commands {split} {recipe.seed}")
        for i in range(count if usable else 0):
            command, pool = draw.choice(usable)
            sound = draw.choice(pool)
            overlay = Overlaid(draw.choice(recipe.snr_db), recipe.command_delay_seconds)
            parts = (sound, command)
            labels = {
                "targets": sound.targets,
                "question": sound.question,
                "phrase": command.phrase,
            }
            clip = _composed(f"command-{split}-{i:05d}", parts, "command", labels)
            planned.append(Composition(clip, parts, overlay))
    return planned


def _digit_voices(clips: Sequence[Clip], split: Split) -> dict[str, dict[str, list[Clip]]]:
    voices: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        digit = clip.targets.get("digits")
        if clip.split == split and clip.kind == "digit" and clip.speaker and digit in _DIGITS:
            voices[clip.speaker][digit].append(clip)
    return {name: digits for name, digits in voices.items() if len(digits) == len(_DIGITS)}


def _composed(name: str, parts: tuple[Clip, ...], kind: str, labels: Mapping[str, object]) -> Clip:
    """Return the manifest row of a composition: its labels, and what all parts have in common."""
    first = parts[-1]
    return Clip.model_validate(
        {
            "id": name,
            "audio": "+".join(part.id for part in parts),
            **labels,
            "language": first.language,
            "speaker": first.speaker,
            "split": first.split,
            "kind": kind,
            "source": "composed",
            "license": " AND ".join(sorted({part.license for part in parts})),
        }
    )


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
