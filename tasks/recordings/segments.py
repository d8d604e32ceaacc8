"""Cuts recordings whose texts have times into clips that the encoder takes at once.

A row of a manifest may give `task` and `segments` instead of `text`, the form of transcripts of
talks and calls. It becomes as few clips as `model.audio.MAX_SECONDS` allows, cut where nobody
speaks, so that each text is what is said in its clip.

Messages of errors are part of a source's digest (`manifest.source_digest`): they stay as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json

from data_contracts.records import Clip, OneLine, Record, TaskName, Text
from model.audio import MAX_SECONDS

_ROUNDING_SECONDS = 0.01
"""Times that differ by less are equal: one segment ends where the next begins."""
OVERSHOOT_SECONDS = 0.5
"""How far a segment may reach beyond the end of its recording, as Kaldi's extract-segments allows:
times are rounded, and counted by other programs.
"""
_GIVEN_BY_SEGMENTS = ("text", "targets", "conversation", "begin_seconds", "end_seconds")


class Segment(Record):
    """A part of a recording and what is said in it."""

    begin_seconds: float = Field(ge=0, le=1e6)
    end_seconds: float = Field(gt=0, le=1e6)
    text: Text
    """Blank where nothing is said; such a segment is left out."""

    @property
    def name(self) -> str:
        """Name of the segment in the ids of clips."""
        return f"{self.begin_seconds:.3f}-{self.end_seconds:.3f}"

    @model_validator(mode="after")
    def _has_a_length(self) -> "Segment":
        if self.end_seconds <= self.begin_seconds:
            raise ValueError(
                f"begin_seconds {self.begin_seconds} is not before end_seconds {self.end_seconds}"
            )
        return self


class _SegmentedRow(BaseModel):
    """A row with segments; its other fields are those of a clip."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: OneLine
    task: TaskName
    segments: Annotated[tuple[Segment, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _says_it_once(self) -> "_SegmentedRow":
        if doubled := [name for name in _GIVEN_BY_SEGMENTS if name in self.other_fields]:
            raise ValueError(f"a row with segments has no {', '.join(doubled)}: they tell it")
        if not any(segment.text.strip() for segment in self.segments):
            raise ValueError("no segment has a text")
        return self

    @property
    def other_fields(self) -> dict[str, object]:
        return self.model_extra or {}


def clips_of_line(line: str) -> list[Clip]:
    """Parse a line of a manifest into clips: one, or those of its segments.

    Raises:
        ValidationError: the line is no row.
    """
    if not _has_segments(line):
        return [Clip.model_validate_json(line)]
    return _clips(_SegmentedRow.model_validate_json(line))


def clips_of_segments(
    fields: Mapping[str, object], task: TaskName, segments: Sequence[Segment]
) -> list[Clip]:
    """Make the clips of a recording whose texts have times.

    Args:
        fields: of the recording, as a row of a manifest has them.

    Raises:
        ValidationError: a field breaks a rule, or no segment has a text.
    """
    return _clips(_SegmentedRow.model_validate({**fields, "task": task, "segments": segments}))


def _clips(row: _SegmentedRow) -> list[Clip]:
    shared = {name: value for name, value in row.other_fields.items() if name != "seconds"}
    return [
        Clip.model_validate(
            {
                **shared,
                "id": f"{row.id}/{part.name}",
                "targets": {row.task: part.text},
                "begin_seconds": part.begin_seconds,
                "end_seconds": part.end_seconds,
            }
        )
        for part in joined(row.segments)
    ]


def _has_segments(line: str) -> bool:
    if '"segments"' not in line:
        return False
    try:
        fields = from_json(line)
    except ValueError:
        return False  # the validation of a clip will say so
    return isinstance(fields, dict) and "segments" in fields


def joined(segments: Iterable[Segment], max_seconds: float = MAX_SECONDS) -> Iterator[Segment]:
    """Join successive segments as long as the result lasts at most `max_seconds`.

    A result is longer only if a segment itself is, or several that overlap: there is no moment at
    which to cut. Texts that overlap stand in the order in which they begin.
    """
    group: Segment | None = None
    for unit in _apart(segments):
        if group is None:
            group = unit
        elif unit.end_seconds - group.begin_seconds > max_seconds:
            yield group
            group = unit
        else:
            group = _as_one(group, unit)
    if group is not None:
        yield group


def _apart(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments with a text in the order of time; those that overlap are joined."""
    unit: Segment | None = None
    spoken = (segment for segment in segments if segment.text.strip())
    for segment in sorted(spoken, key=lambda segment: segment.begin_seconds):
        if unit is None:
            unit = segment
        elif segment.begin_seconds > unit.end_seconds - _ROUNDING_SECONDS:
            yield unit
            unit = segment
        else:
            unit = _as_one(unit, segment)
    if unit is not None:
        yield unit


def _as_one(first: Segment, second: Segment) -> Segment:
    return Segment(
        begin_seconds=first.begin_seconds,
        end_seconds=max(first.end_seconds, second.end_seconds),
        text=f"{first.text.strip()} {second.text.strip()}",
    )
