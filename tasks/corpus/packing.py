"""Packs recordings into shards: plans what each shard holds and writes them in parallel."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import PurePosixPath
from typing import NamedTuple

from data_contracts.records import Clip, Rejected, ShardSummary, SourceFile
from infra.storage.store import Store
from infra.time_left import time_left
from model.audio import SAMPLE_RATE
from tasks.context import StageContext
from tasks.corpus.compose import Composition
from tasks.corpus.shards import MadeClip, find_shard, read_summary, shard_key, write_shard
from tasks.recordings.codec import Codec
from tasks.recordings.decode import DecodeError, check_clip, decode
from tasks.recordings.levels import LevelRecipe
from tasks.recordings.long_audio import Kept, LengthRule
from tasks.recordings.read import LastRead
from tasks.recordings.segments import OVERSHOOT_SECONDS

_BAR = 20
"""Width of the progress bar, in characters."""


class ShardCountError(ValueError):
    """A shard does not hold the records that were planned for it."""


@dataclass(frozen=True)
class ShardJob:
    """The clips of one shard, which one Ray task makes."""

    number: int
    compositions: tuple[Composition, ...]


@dataclass(frozen=True)
class Packing:
    """Rules by which all shards of a corpus are made."""

    rule: LengthRule
    codec: Codec = "flac"
    levels: LevelRecipe = field(default_factory=LevelRecipe)


class PackedShard(NamedTuple):
    """Result of the task that packs one shard."""

    summary: ShardSummary
    was_there: bool
    """Whether an interrupted run had already written it."""


def plan_shards(planned: Iterable[Composition], clips_per_shard: int) -> Iterator[ShardJob]:
    """Group the planned clips into shards, in their order."""
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
    roots: Sequence[str],
) -> list[ShardSummary]:
    """Write the missing shards in parallel and return the summaries of all shards, in order.

    Args:
        num_jobs: how many jobs there will be.
        roots: folders or URLs of the source; clips name their source files relative to these.

    Raises:
        ShardCountError: the records of a shard are not all packed or rejected.
    """
    planned: dict[int, int] = {}
    summaries: dict[int, ShardSummary] = {}
    progress = _Progress(num_jobs)

    def noted() -> Iterator[ShardJob]:
        for job in jobs:
            planned[job.number] = len(job.compositions)
            yield job

    task = partial(pack_shard, context.directory, packing, tuple(roots))
    for summary, was_there in context.compute.map(task, noted()):
        number = int(PurePosixPath(summary.shard).stem.rpartition("-")[2])
        summaries[number] = summary
        progress.add(summary, was_there)
        if not was_there:
            context.progress(f"shard {number} written: {progress}")
    for number, num_records in planned.items():
        _check_count(context.directory, number, num_records, summaries[number])
    return [summaries[number] for number in sorted(summaries)]


def _check_count(directory: Store, number: int, num_records: int, summary: ShardSummary) -> None:
    done = summary.clips + summary.rejected
    if done != num_records:
        raise ShardCountError(
            f"{directory.path(shard_key(number))} accounts for {done} records and {num_records} "
            "were planned for it; each must be packed or rejected. If the source was changed while "
            "the run was interrupted, delete this file and run again."
        )


class _Progress:
    """Progress of packing: shards done, hours of audio per second, and the time left."""

    def __init__(self, num_shards: int) -> None:
        self._num_shards = num_shards
        self._done, self._written = 0, 0
        self._hours, self._began = 0.0, time.monotonic()

    def add(self, shard: ShardSummary, was_there: bool) -> None:
        """Count a shard as done; one that was there before says nothing about the speed."""
        self._done += 1
        if not was_there:
            self._written += 1
            self._hours += shard.seconds / 3600

    def __str__(self) -> str:
        spent = max(time.monotonic() - self._began, 1e-3)
        left = time_left(spent, self._written, self._num_shards - self._done)
        bar = "#" * (_BAR * self._done // self._num_shards)
        return (
            f"[{bar:-<{_BAR}}] {self._done} of {self._num_shards}, {self._hours:.2f} h of audio at "
            f"{self._hours / spent:.3f} h/s, {left}, "
            "then the search for duplicates and leaks"
        )


def pack_shard(
    directory: Store, packing: Packing, roots: Sequence[str], job: ShardJob
) -> PackedShard:
    """Make the clips of one shard and write it, unless it is there and whole."""
    if summary := find_shard(directory, job.number):
        return PackedShard(summary, was_there=True)
    bytes_of = LastRead()

    def outcomes() -> Iterator[MadeClip | Rejected]:
        for composition in job.compositions:
            clip = composition.clip
            try:
                kept, sources = make_waveform(composition, packing, roots, bytes_of)
            except DecodeError as error:
                yield Rejected(id=clip.id, reason=error.reason, detail=error.detail)
                continue
            yield MadeClip(clip, *kept, tuple(part.id for part in composition.parts), sources)

    write_shard(directory, job.number, outcomes(), packing.codec)
    return PackedShard(read_summary(directory, job.number), was_there=False)


def make_waveform(
    composition: Composition, packing: Packing, roots: Sequence[str], bytes_of: LastRead
) -> tuple[Kept, tuple[SourceFile, ...]]:
    """Make the waveform of a recording or a composition; return it with its source files.

    The seconds that were cut off the parts count as cut off the whole.

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
                audio=_relative_to(roots, part.audio),
                sha256=digest,
                begin_byte=part.begin_byte,
                num_bytes=part.num_bytes,
                encoding=part.encoding,
                cell=part.cell,
                begin_seconds=part.begin_seconds,
                end_seconds=part.end_seconds,
            )
        )
    combined = composition.combine([part.waveform for part in parts])
    kept = packing.rule.keep(combined, len(combined) / SAMPLE_RATE, composition.clip)
    check_clip(kept.waveform, composition.clip.id)
    cut_seconds = kept.cut_seconds + sum(part.cut_seconds for part in parts)
    return Kept(kept.waveform, cut_seconds), tuple(sources)


def _relative_to(roots: Sequence[str], audio: str) -> str:
    """Path of a file below the first root that contains it; the whole path where none does."""
    root = next((root for root in roots if audio.startswith(f"{root}/")), None)
    return audio if root is None else audio.removeprefix(f"{root}/")


def _read_part(part: Clip, rule: LengthRule, bytes_of: LastRead) -> tuple[Kept, str]:
    """Read and decode a recording; return what is packed of it and the sha256 of its bytes."""
    data, digest = bytes_of(part)
    if part.sha256 not in (None, digest):
        detail = f"{part.audio} has sha256 {digest[:12]}..., the manifest says {part.sha256:.12}..."
        raise DecodeError("digest_differs", detail)
    span = (part.begin_seconds, part.end_seconds)
    recording = decode(data, part.audio, rule.max_seconds, *span)
    _refuse_early_end(part, recording.seconds)
    return rule.keep(recording.waveform, recording.seconds, part), digest


def _refuse_early_end(part: Clip, seconds: float) -> None:
    """Refuse a recording that ends before its row says: its labels may be about the missing part.

    Raises:
        DecodeError: `ends_early`.
    """
    end = part.seconds if part.end_seconds is None else part.end_seconds
    if end is not None and part.begin_seconds + seconds < end - OVERSHOOT_SECONDS:
        raise DecodeError(
            "ends_early",
            f"{part.audio} ends {part.begin_seconds + seconds:.3f} s after its beginning; its row "
            f"says {end:.3f} s. Correct `seconds` or `end_seconds`, or copy it again",
        )
