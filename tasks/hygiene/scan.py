"""One sequential read of each shard: a fingerprint and some measures of every recording in it.

Compositions are left out: the recordings that they are made of are here themselves. What a shard
gave is kept beside it until the corpus is finished, so that a run that was killed goes on.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from data_contracts.digest import digest_of_bytes
from data_contracts.records import PackedClip
from infra.store import Store
from model.audio import SAMPLE_RATE
from tasks.clips import DamagedClipError
from tasks.codec import decode_audio
from tasks.context import StageContext
from tasks.hygiene.fingerprint import fingerprint, mel_powers
from tasks.hygiene.search import Prints

MEASURES = ("snr_db", "quiet_share", "flat_top_share")
"""Columns of `Scan.measures`.

snr_db: loud over quiet frames, the 95th over the 5th percentile of the power of 10 ms frames: an
    estimate for speech with pauses, after NIST's STNR, and not more than 80 dB.
quiet_share: share of 10 ms frames over 40 dB below the loudest.
flat_top_share: share of samples in runs of three and more at the peak: clipped before packing.
"""
_CLIPS_AT_ONCE = 64
_FLAT_TOP = 0.9999
_SECONDS_AT_ONCE = 600


@dataclass(frozen=True)
class Scan:
    """What was heard of a corpus, recording by recording."""

    rows: tuple[PackedClip, ...]
    prints: Prints
    measures: NDArray[np.float32]
    """[recordings, len(MEASURES)]."""


@dataclass(frozen=True)
class _Job:
    shard: str
    rows: tuple[PackedClip, ...]


def scan_corpus(context: StageContext, clips: Iterable[PackedClip]) -> Scan:
    """Scan all recordings of a packed corpus, shard by shard in parallel, in the clips' order."""
    recordings = [clip for clip in clips if clip.origin == (clip.id,)]
    jobs = [
        _Job(shard, tuple(rows)) for shard, rows in groupby(recordings, lambda clip: clip.shard)
    ]
    directory = context.directory
    missing = [job for job in jobs if not directory.exists(_scan_key(job.shard))]
    for _ in context.compute.map(partial(_scan_shard, directory), missing):
        pass
    # A corpus may have nothing to scan: compositions alone, or nothing that was packed.
    bits, lengths = [np.zeros(0, np.uint32)], []
    measures = [np.zeros((0, len(MEASURES)), np.float32)]
    for job in jobs:
        with np.load(io.BytesIO(directory.read_bytes(_scan_key(job.shard)))) as found:
            bits.append(found["bits"])
            lengths.append(found["lengths"])
            measures.append(found["measures"])
    starts = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
    return Scan(tuple(recordings), Prints(np.concatenate(bits), starts), np.concatenate(measures))


def measure(waveform: NDArray[np.float32], power: torch.Tensor) -> tuple[float, float, float]:
    """MEASURES of a waveform [num_samples] and its mel power [80, frames]."""
    frames = power.sum(0).numpy()
    low, high = np.percentile(frames, [5, 95])
    quiet = float(np.mean(frames < frames.max() * 1e-4))
    top = np.abs(waveform) >= _FLAT_TOP * np.abs(waveform).max()
    middle = top[:-2] & top[1:-1] & top[2:]
    run = np.zeros(len(top), bool)
    for shift in range(3):
        run[shift : len(run) - 2 + shift] |= middle
    return 10 * float(np.log10(high / low)), quiet, float(run.mean())


def _scan_key(shard: str) -> str:
    return f"scratch/heard-{PurePosixPath(shard).stem.removeprefix('shard-')}.npz"


def _scan_shard(directory: Store, job: _Job) -> None:
    bits, measures = [], []
    with directory.open(job.shard) as stream:
        for rows in _portions(job.rows):
            waveforms = [_read(directory, stream, row) for row in rows]
            for waveform, power in zip(waveforms, mel_powers(waveforms), strict=True):
                bits.append(fingerprint(power))
                measures.append(measure(waveform, power))
    buffer = io.BytesIO()
    np.savez(
        buffer,
        bits=np.concatenate(bits),
        lengths=np.array([len(found) for found in bits]),
        measures=np.array(measures, np.float32),
    )
    directory.write_bytes(_scan_key(job.shard), buffer.getvalue())


def _read(directory: Store, stream: BinaryIO, row: PackedClip) -> NDArray[np.float32]:
    """The waveform of the next clip of a shard; only what lies between two is skipped."""
    stream.seek(row.offset)
    data = stream.read(row.size)
    if digest_of_bytes(data) != row.sha256:
        raise DamagedClipError(row, directory.path(row.shard))
    return decode_audio(data)


def _portions(rows: Sequence[PackedClip]) -> Iterator[list[PackedClip]]:
    """Clips that are decoded and transformed at once: bounded in number and length."""
    portion: list[PackedClip] = []
    for row in rows:
        portion.append(row)
        seconds = sum(row.num_samples for row in portion) / SAMPLE_RATE
        if len(portion) == _CLIPS_AT_ONCE or seconds > _SECONDS_AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion
