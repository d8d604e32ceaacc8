"""Rows 10 and 11: from shards to features, and back into a shard after an interruption."""

import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import webdataset
from numpy.typing import NDArray
from torch import Tensor
from transformers import WhisperFeatureExtractor

from benchmarks.harness import Condition, Row, race
from benchmarks.workload import clip_samples, noise
from data_contracts.records import Clip, PackedClip
from infra.storage.store import Store
from model.audio import SAMPLE_RATE
from tasks.corpus.features import clip_features
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import MadeClip, shard_key, write_shard
from tasks.recordings.decode import decode
from tasks.recordings.read import read_audio

_CORPUS = Path("data")
_NUM_MEL_BINS = 80
_CLIPS = 32
_LONG_SHARD = 8000
_POSITION = 7900
_SHORT_CLIP = 5900
"""Samples: with noise, which FLAC can't compress, 8000 clips make a shard of 94 MB."""


def shard_to_mel() -> Iterator[Row]:
    """Recorded speech as FLAC in a tar, to log-mel features."""
    with TemporaryDirectory() as folder:
        waveforms = _speech(clip_samples(_CLIPS))
        store, rows = _write(folder, waveforms)
        names = [row.id for row in rows]
        extractor = WhisperFeatureExtractor(feature_size=_NUM_MEL_BINS)

        def ours() -> dict[str, Tensor]:
            return clip_features(ClipReader(store, rows), names, _NUM_MEL_BINS)

        def reference() -> Tensor:
            waveforms = [_read(flac) for flac in _scan(store)]
            features: Tensor = extractor(
                waveforms, sampling_rate=SAMPLE_RATE, return_tensors="pt"
            ).input_features
            return features

        reader = ClipReader(store, rows)
        differing = sum(
            not np.array_equal(reader[name], _read(flac))
            for name, flac in zip(names, _scan(store), strict=True)
        )
        result = race(ours, reference)
        speed = sum(map(len, waveforms)) / SAMPLE_RATE / result.ours
        yield Row(
            name="FLAC in tar to mel",
            work=f"{_CLIPS} clips of speech, {_NUM_MEL_BINS} channels",
            race=result,
            goal=6.0,
            stretch=8.0,
            conditions=(
                Condition("x real time", speed, ">=", 2000),
                Condition("other waveforms than soundfile's", differing, "<=", 0),
            ),
        )


def seek() -> Iterator[Row]:
    """The next clip after an interruption near a shard's end; the index is in memory."""
    with TemporaryDirectory() as folder:
        waveforms = [noise(_SHORT_CLIP, seed).numpy() for seed in range(_LONG_SHARD)]
        store, rows = _write(folder, waveforms)

        def ours() -> NDArray[np.float32]:
            return ClipReader(store, rows)[rows[_POSITION].id]

        def reference() -> NDArray[np.float32]:
            return _read(next(islice(_scan(store), _POSITION, None)))

        reader = ClipReader(store, rows)
        rest = zip(rows[_POSITION:], islice(_scan(store), _POSITION, None), strict=True)
        lost = sum(reader.audio(row.id) != flac for row, flac in rest)
        result = race(ours, reference)
        size = store.size(shard_key(0)) / 1e6
        yield Row(
            name="seek into a shard",
            work=f"clip {_POSITION} of {_LONG_SHARD} in {size:.0f} MB",
            race=result,
            goal=None,
            stretch=None,
            conditions=(
                Condition("milliseconds", 1000 * result.ours, "<=", 5),
                Condition("samples lost or repeated", lost, "<=", 0),
            ),
        )


def _speech(lengths: list[int]) -> list[NDArray[np.float32]]:
    """Clips of these lengths, cut from the embedded corpus' recordings, one after the other."""
    pieces: list[NDArray[np.float32]] = []
    manifest = (_CORPUS / "manifest.jsonl").read_text().splitlines()
    for row in map(json.loads, manifest):
        if row["kind"] == "speech":
            path = str(_CORPUS / row["audio"])
            pieces.append(decode(read_audio(path), path).waveform)
        if sum(map(len, pieces)) >= sum(lengths):
            break
    return np.split(np.concatenate(pieces), np.cumsum(lengths))[:-1]


def _write(folder: str, waveforms: list[NDArray[np.float32]]) -> tuple[Store, list[PackedClip]]:
    """One shard of ours."""
    store = Store(folder)
    clips = (
        MadeClip(Clip(id=f"clip {number}", audio="-", targets={"asr": "words"}), waveform, 0.0, ())
        for number, waveform in enumerate(waveforms)
    )
    return store, write_shard(store, 0, clips)


def _scan(store: Store) -> Iterator[bytes]:
    """FLAC files in the shard's order, as webdataset reads them."""
    samples = webdataset.WebDataset(store.path(shard_key(0)), shardshuffle=False)
    for (flac,) in samples.to_tuple("flac"):
        yield flac


def _read(flac: bytes) -> NDArray[np.float32]:
    waveform, _ = soundfile.read(io.BytesIO(flac), dtype="float32")
    return np.asarray(waveform)
