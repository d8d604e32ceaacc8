"""Features of one shard's recordings: what hygiene compares, extracted once and kept on disk.

A shard is read once, from one end to the other. Its features lie beside it until the corpus is
finished, so that a run that was killed continues. Compositions are left out: the recordings that
they are made of are in the corpus themselves.
"""

import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_contracts import clip_tables
from data_contracts.digest import digest_of_bytes
from data_contracts.records import PackedClip, TaskName
from data_contracts.split_leaks import SPLIT_ORDER
from infra.storage.kept_files import is_kept, write_kept
from infra.storage.store import Store
from model.audio import SAMPLE_RATE
from tasks.corpus.reader import DamagedClipError
from tasks.corpus.shards import ShardRows, shard_key
from tasks.hygiene.fingerprint import fingerprint, mel_powers
from tasks.hygiene.language import Sample, transcript
from tasks.hygiene.same_recording import identities
from tasks.hygiene.text import Texts
from tasks.hygiene.waveform import Background, background
from tasks.recordings.codec import decode_audio

MEASURES = np.dtype(
    [
        ("seconds", "<f4"),
        ("level", "<f4"),
        ("speaking_rate", "<f4"),
        ("snr_db", "<f4"),
        ("quiet_share", "<f4"),
        ("flat_top_share", "<f4"),
    ]
)
"""Measures of a recording; NaN where there is none.

level: dB below full scale, of the root mean square.
speaking_rate: characters per second of recorded speech with a transcript.
The others: `waveform.Background`; snr_db of rows with a language only.
"""
_CLIPS_AT_ONCE = 64
_SECONDS_AT_ONCE = 600


@dataclass(frozen=True)
class ShardFeatures:
    """Arrays with an entry for each recording of a shard, in order, unless said otherwise."""

    positions: NDArray[np.int32]
    """Position of the recording among the shard's clips."""
    ranks: NDArray[np.int8]
    """Index of its split in `split_leaks.SPLITS`."""
    kinds: NDArray[np.str_]
    languages: NDArray[np.str_]
    """ISO 639-1 codes; `none` where there is none."""
    measures: NDArray[Any]
    """[recordings] of MEASURES."""
    hops: NDArray[np.int64]
    """Length of its fingerprint."""
    bits: NDArray[np.uint32]
    """[sum of hops]: all fingerprints, concatenated."""
    identities: NDArray[Any]
    """[recordings] of `same_recording.IDENTITY`."""
    words: NDArray[np.uint8]
    sentences: NDArray[Any]
    bands: NDArray[Any]
    """The shard's `Texts`; recordings count from its first."""
    transcripts: NDArray[np.uint8]
    """JSON: a sample of the training transcripts, by language."""

    def save(self, directory: Store, number: int) -> None:
        """Write the features beside shard `number`."""
        buffer = io.BytesIO()
        np.savez(buffer, **vars(self))
        write_kept(directory, _key(number), buffer.getvalue())

    @classmethod
    def load(cls, directory: Store, number: int) -> "ShardFeatures":
        """Read the features of shard `number`."""
        with np.load(io.BytesIO(directory.read_bytes(_key(number)))) as arrays:
            return cls(**arrays)

    @cached_property
    def sample(self) -> dict[str, list[str]]:
        """The sample of `transcripts`: normalised texts by language."""
        texts: dict[str, list[str]] = json.loads(self.transcripts.tobytes())
        return texts


def has_features(directory: Store, progress: Callable[[str], None], number: int) -> bool:
    """Tell whether the features of shard `number` are whole, so that it need not be read again."""
    return is_kept(directory, _key(number), progress)


def extract_features(shards: ShardRows, held_out: Collection[TaskName], number: int) -> None:
    """Read shard `number` and write its features beside it.

    Raises:
        DamagedClipError: the bytes of a clip are not those that its row names.
    """
    directory = shards.directory
    clips = list(shards.shard(number))
    positions = [index for index, clip in enumerate(clips) if clip.origin == (clip.id,)]
    rows = [clips[index] for index in positions]
    prints: list[NDArray[np.uint32]] = []
    sounds: list[Background] = []
    with directory.open(shard_key(number)) as stream:
        for batch in _batches(rows):
            waveforms = [_read(directory, stream, row) for row in batch]
            for waveform, power in zip(waveforms, mel_powers(waveforms), strict=True):
                prints.append(fingerprint(power))
                sounds.append(background(waveform, power))
    texts = Texts.of(rows, held_out)
    ranks = np.array([SPLIT_ORDER[row.split] for row in rows], np.int8)
    ShardFeatures(
        positions=np.array(positions, np.int32),
        ranks=ranks,
        kinds=np.array([row.kind for row in rows], np.str_),
        languages=np.array([row.language or "none" for row in rows], np.str_),
        measures=_measures(rows, sounds),
        hops=np.array([len(bits) for bits in prints], np.int64),
        bits=np.concatenate([np.zeros(0, np.uint32), *prints]),
        identities=identities(rows, ranks),
        words=texts.words,
        sentences=texts.sentences,
        bands=texts.bands,
        transcripts=np.frombuffer(json.dumps(_transcripts(rows)).encode(), np.uint8),
    ).save(directory, number)


def _key(number: int) -> str:
    return f"scratch/features-{number:05d}.npz"


def _measures(rows: Sequence[PackedClip], sounds: Sequence[Background]) -> NDArray[Any]:
    """[recordings] of MEASURES."""
    measures = np.empty(len(rows), MEASURES)
    measures["seconds"] = [row.num_samples / SAMPLE_RATE for row in rows]
    measures["level"] = [-20 * np.log10(max(row.rms, 1e-6)) for row in rows]
    rates = clip_tables.characters_per_second(rows)
    measures["speaking_rate"] = np.where([row.kind == "speech" for row in rows], rates, np.nan)
    measures["snr_db"] = [
        sound.snr_db if row.language is not None else np.nan
        for row, sound in zip(rows, sounds, strict=True)
    ]
    measures["quiet_share"] = [sound.quiet_share for sound in sounds]
    measures["flat_top_share"] = [sound.flat_top_share for sound in sounds]
    return measures


def _transcripts(rows: Sequence[PackedClip]) -> dict[str, list[str]]:
    sample = Sample()
    for row in rows:
        if row.split == "train":
            sample.add(row.language, [transcript(row)])
    return sample.texts()


def _read(directory: Store, stream: BinaryIO, row: PackedClip) -> NDArray[np.float32]:
    """Decode a clip of an open shard and check its bytes. Clips come in order, so that the seek
    skips only the labels in between.
    """
    stream.seek(row.offset)
    data = stream.read(row.size)
    if digest_of_bytes(data) != row.sha256:
        raise DamagedClipError(row, directory.path(row.shard))
    return decode_audio(data)


def _batches(rows: Sequence[PackedClip]) -> Iterator[list[PackedClip]]:
    """Clips that are decoded and transformed at once: bounded in number and length."""
    batch: list[PackedClip] = []
    seconds = 0.0
    for row in rows:
        batch.append(row)
        seconds += row.num_samples / SAMPLE_RATE
        if len(batch) == _CLIPS_AT_ONCE or seconds > _SECONDS_AT_ONCE:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch
