"""Rows 10 and 11: from shards to features, and seeking in a shard."""

import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch
import webdataset
from transformers import WhisperFeatureExtractor

from benchmarks.harness import Condition, Row, cpu_seconds, race
from benchmarks.workload import clip_samples
from data_contracts.records import Clip, PackedClip
from infra.store import Store
from model.audio import SAMPLE_RATE
from model.features import log_mel_spectrogram
from tasks.decode import decode
from tasks.shards import ClipReader, MadeClip, shard_key, write_shard

_DATA = Path("data")
_CLIPS, _BATCH = 64, 16
_LONG_SHARD = 8000
"""Clips of a shard in which a run that resumes has to find its place."""
_BINS = 128


def shards_to_mel() -> Iterator[Row]:
    """FLAC in a tar to log-mel features, real speech and sounds, every clip once."""
    with TemporaryDirectory() as folder:
        store = Store(folder)
        recordings = _real_recordings(clip_samples(_CLIPS))
        rows = write_shard(store, 0, map(_made, range(_CLIPS), recordings))
        path = store.path(shard_key(0))
        extractor = WhisperFeatureExtractor(feature_size=_BINS)

        def ours() -> list[np.ndarray]:
            reader = ClipReader(store, rows, cache_bytes=0)
            waveforms = []
            for start in range(0, _CLIPS, _BATCH):
                batch = [reader[row.id] for row in rows[start : start + _BATCH]]
                log_mel_spectrogram([torch.from_numpy(clip) for clip in batch], _BINS)
                waveforms += batch
            return waveforms

        def reference() -> list[np.ndarray]:
            samples = webdataset.WebDataset(path, shardshuffle=False, empty_check=False)
            clips = [_read(sample["flac"]) for sample in samples]
            for start in range(0, _CLIPS, _BATCH):
                extractor(
                    clips[start : start + _BATCH], sampling_rate=SAMPLE_RATE, return_tensors="pt"
                )
            return clips

        same = all(map(np.array_equal, ours(), reference()))
        measured = race(ours, reference)
        audio_seconds = sum(len(clip) for clip in recordings) / SAMPLE_RATE
        yield Row(
            name="FLAC in tar to mel",
            work=f"{_CLIPS} clips, {_BINS} channels",
            race=measured,
            goal=6.0,
            stretch=8.0,
            conditions=(
                Condition("x real time", audio_seconds / measured.ours, ">=", 2000.0),
                Condition("waveforms unequal", float(not same), "<=", 0.0),
            ),
        )


def seek() -> Iterator[Row]:
    """The first clip that a run reads after it has resumed near the end of a shard."""
    with TemporaryDirectory() as folder:
        store = Store(folder)
        (recording,) = _real_recordings([SAMPLE_RATE // 4])
        rows = write_shard(store, 0, map(_made, range(_LONG_SHARD), [recording] * _LONG_SHARD))
        path = store.path(shard_key(0))
        wanted = rows[int(0.99 * _LONG_SHARD)]
        measured = race(
            partial(_seek, store, rows, wanted), partial(_scan, path, wanted.id), seconds=5.0
        )
        reader = ClipReader(store, rows)
        first = cpu_seconds(partial(reader.flac, wanted.id))
        found = {sample["id"] for sample in _samples(path)}
        yield Row(
            name="seek on resume",
            work=f"clip {int(0.99 * _LONG_SHARD)} of {_LONG_SHARD}; ours opens the index too",
            race=measured,
            goal=None,
            stretch=None,
            conditions=(
                Condition("ms to the first clip", 1000 * first, "<=", 5.0),
                Condition("clips lost", float(len({row.id for row in rows} - found)), "<=", 0.0),
            ),
        )


def _seek(store: Store, rows: list[PackedClip], wanted: PackedClip) -> bytes:
    return ClipReader(store, rows).flac(wanted.id)


def _scan(path: str, wanted: str) -> bytes:
    return next(sample["flac"] for sample in _samples(path) if sample["id"] == wanted)


def _samples(path: str) -> Iterator[dict[str, bytes]]:
    for sample in webdataset.WebDataset(path, shardshuffle=False, empty_check=False):
        yield {"id": json.loads(sample["json"])["id"], "flac": sample["flac"]}


def _read(flac: bytes) -> np.ndarray:
    waveform, _ = soundfile.read(io.BytesIO(flac), dtype="float32")
    return np.asarray(waveform)


def _real_recordings(lengths: list[int]) -> list[np.ndarray]:
    """Clips of the embedded corpus behind one another, cut to the wanted lengths."""
    rows = [json.loads(line) for line in (_DATA / "manifest.jsonl").read_text().splitlines()]
    places = iter(_DATA / row["audio"] for row in rows[::5])
    recordings = []
    rest = np.empty(0, np.float32)
    for length in lengths:
        while len(rest) < length:
            path = next(places)
            rest = np.concatenate([rest, decode(path.read_bytes(), path.name).waveform])
        recordings.append(rest[:length])
        rest = rest[length:]
    return recordings


def _made(number: int, waveform: np.ndarray) -> MadeClip:
    clip = Clip(id=f"{number:05d}", audio="benchmark", targets={"asr": "text"}, license="none")
    return MadeClip(clip, waveform, 0.0, (clip.id,))
