"""Recordings to shards: what a shard is made of, and the tasks that make them side by side."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count, islice
from pathlib import PurePosixPath
from typing import NamedTuple

from data_contracts.records import Clip, Rejected, ShardSummary, SourceFile
from infra.storage.store import Store
from model.audio import SAMPLE_RATE
from tasks.context import StageContext
from tasks.corpus.compose import Composition
from tasks.corpus.shards import MadeClip, find_shard, read_summary, write_shard
from tasks.recordings.codec import Codec
from tasks.recordings.decode import DecodeError, check_clip, decode
from tasks.recordings.levels import LevelRecipe
from tasks.recordings.long_audio import Kept, LengthRule
from tasks.recordings.read import LastRead
from tasks.recordings.segments import OVERSHOOT_SECONDS

_BAR = 20
"""Characters of the bar that shows progress."""


@dataclass(frozen=True)
class ShardJob:
    """The work of one Ray task."""

    number: int
    compositions: tuple[Composition, ...]


@dataclass(frozen=True)
class Packing:
    """How all shards of a corpus are made."""

    rule: LengthRule
    codec: Codec = "flac"
    levels: LevelRecipe = field(default_factory=LevelRecipe)


class PackedShard(NamedTuple):
    """What a Ray task tells of a shard."""

    summary: ShardSummary
    found: bool
    """Whether it was there already, from a run that was interrupted."""


def plan_shards(planned: Iterable[Composition], clips_per_shard: int) -> Iterator[ShardJob]:
    """Cut the planned clips into shards, in their order."""
    remaining = iter(planned)
    for number in count():
        if not (compositions := tuple(islice(remaining, clips_per_shard))):
            return
        yield ShardJob(number, compositions)


def pack(
    context: StageContext,
    jobs: Iterable[ShardJob],
    num_jobs: int,
    packing: Packing,
    places: Sequence[str],
) -> list[ShardSummary]:
    """Write the shards that are not there yet, in parallel; returns the summaries of all, in order.

    Args:
        num_jobs: how many there will be.
        places: folders or URLs that the places of source files are told from.

    Raises:
        AssertionError: a record is neither packed nor rejected.
    """
    summaries: dict[int, ShardSummary] = {}
    progress = _Progress(num_jobs)
    num_records = 0

    def counted() -> Iterator[ShardJob]:
        nonlocal num_records
        for job in jobs:
            num_records += len(job.compositions)
            yield job

    task = partial(pack_shard, context.directory, packing, tuple(places))
    for summary, found in context.compute.map(task, counted()):
        number = int(PurePosixPath(summary.shard).stem.rpartition("-")[2])
        summaries[number] = summary
        progress.add(summary, found)
        if not found:
            context.progress(f"shard {number} written: {progress}")
    done = sum(summary.clips + summary.rejected for summary in summaries.values())
    if done != num_records:
        raise AssertionError(f"{num_records} in, {done} packed or rejected")
    return [summaries[number] for number in sorted(summaries)]


class _Progress:
    """How far packing came, how fast it is, and when it will be done."""

    def __init__(self, num_shards: int) -> None:
        self._num_shards = num_shards
        self._done, self._written = 0, 0
        self._hours, self._began = 0.0, time.monotonic()

    def add(self, shard: ShardSummary, found: bool) -> None:
        """One more is there; what was `found` says nothing about the speed."""
        self._done += 1
        if not found:
            self._written += 1
            self._hours += shard.seconds / 3600

    def __str__(self) -> str:
        spent = max(time.monotonic() - self._began, 1e-3)
        left = (self._num_shards - self._done) * spent / max(self._written, 1)
        bar = "#" * (_BAR * self._done // self._num_shards)
        return (
            f"[{bar:-<{_BAR}}] {self._done} of {self._num_shards}, {self._hours:.2f} h of audio at "
            f"{self._hours / spent:.3f} h/s, about {timedelta(seconds=round(left))} left"
        )


def pack_shard(
    directory: Store, packing: Packing, places: Sequence[str], job: ShardJob
) -> PackedShard:
    """Make the clips of one shard and write it, unless it is there and whole."""
    if there := find_shard(directory, job.number):
        return PackedShard(there, found=True)
    bytes_of = LastRead()

    def outcomes() -> Iterator[MadeClip | Rejected]:
        for composition in job.compositions:
            clip = composition.clip
            try:
                kept, sources = make_waveform(composition, packing, tuple(places), bytes_of)
            except DecodeError as error:
                yield Rejected(id=clip.id, reason=error.reason, detail=error.detail)
                continue
            yield MadeClip(clip, *kept, tuple(part.id for part in composition.parts), sources)

    write_shard(directory, job.number, outcomes(), packing.codec)
    return PackedShard(read_summary(directory, job.number), found=False)


def make_waveform(
    composition: Composition, packing: Packing, places: Sequence[str], bytes_of: LastRead
) -> tuple[Kept, tuple[SourceFile, ...]]:
    """The waveform of a recording or a composition, and the files that it was made of.

    What was cut of the parts counts as cut of the whole.

    Raises:
        DecodeError: the clip or a part of it can't be used; the reason is the part's, and the
            detail names the part.
    """
    parts, sources = [], []
    for part in composition.parts:
        try:
            kept, digest = _read_part(part, packing.rule, bytes_of)
            packing.levels.refuse(kept.waveform, part.id)
        except DecodeError as error:
            if part.id == composition.clip.id:
                raise
            raise DecodeError(error.reason, f"part {part.id!r}: {error.detail}") from error
        parts.append(kept)
        sources.append(
            SourceFile(
                audio=_told_from(places, part.audio),
                sha256=digest,
                begin_byte=part.begin_byte,
                num_bytes=part.num_bytes,
                begin_seconds=part.begin_seconds,
                end_seconds=part.end_seconds,
            )
        )
    combined = composition.combine([part.waveform for part in parts])
    kept = packing.rule.keep(combined, len(combined) / SAMPLE_RATE, composition.clip)
    check_clip(kept.waveform, composition.clip.id)
    cut = kept.cut_seconds + sum(part.cut_seconds for part in parts)
    return Kept(kept.waveform, cut), tuple(sources)


def _told_from(places: Sequence[str], audio: str) -> str:
    above = next((place for place in places if audio.startswith(f"{place}/")), None)
    return audio if above is None else audio.removeprefix(f"{above}/")


def _read_part(part: Clip, rule: LengthRule, bytes_of: LastRead) -> tuple[Kept, str]:
    """What is packed of a recording, and the sha256 of the bytes that it was read from."""
    data, digest = bytes_of(part)
    if part.sha256 not in (None, digest):
        detail = f"{part.audio} has sha256 {digest[:12]}..., the manifest says {part.sha256:.12}..."
        raise DecodeError("digest_differs", detail)
    span = (part.begin_seconds, part.end_seconds)
    recording = decode(data, part.audio, rule.max_seconds, *span)
    _refuse_early_end(part, recording.seconds)
    return rule.keep(recording.waveform, recording.seconds, part), digest


def _refuse_early_end(part: Clip, seconds: float) -> None:
    """What is said of a recording may be about what is missing of it.

    Raises:
        DecodeError: `ends_early`.
    """
    end = part.seconds if part.end_seconds is None else part.end_seconds
    if end is not None and part.begin_seconds + seconds < end - OVERSHOOT_SECONDS:
        raise DecodeError(
            "ends_early",
            f"{part.audio} ends {part.begin_seconds + seconds:.3f} s after its begin; its row "
            f"speaks of {end:.3f} s. Correct `seconds` or `end_seconds`, or copy it again",
        )
