"""What is kept of one shard's recordings: as much as comparing needs, as little as that takes.

A shard is read once, from one end to the other. What it gave is kept beside it until the corpus is
finished, so that a run that was killed goes on. Compositions are left out: the recordings that
they are made of are in the corpus themselves.
"""

import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_contracts import clip_tables
from data_contracts.digest import digest_of_bytes
from data_contracts.records import PackedClip, TaskName
from data_contracts.split_leaks import SPLIT_ORDER
from infra.storage.store import Store
from model.audio import SAMPLE_RATE
from tasks.corpus.reader import DamagedClipError
from tasks.corpus.shards import ShardRows, shard_key
from tasks.hygiene.fingerprint import fingerprint, mel_powers
from tasks.hygiene.language import Sample, transcript
from tasks.hygiene.same_recording import identities
from tasks.hygiene.text import Texts
from tasks.hygiene.waveform import background
from tasks.recordings.codec import decode_audio

MEASURES = ("seconds", "level", "speaking_rate", "snr_db", "quiet_share", "flat_top_share")
"""Columns of `Heard.measures`; NaN where there is none.

level: dB below full scale, of the root mean square.
speaking_rate: characters a second of recorded speech with a transcript.
The others: `waveform.background`; snr_db of rows with a language only.
"""
_CLIPS_AT_ONCE = 64
_SECONDS_AT_ONCE = 600


@dataclass(frozen=True)
class Heard:
    """Arrays with an entry for each recording of a shard, in order, unless said otherwise."""

    places: NDArray[np.int32]
    """Which of the shard's clips it is."""
    ranks: NDArray[np.int8]
    """Of its split in `leaks.SPLITS`."""
    kinds: NDArray[np.str_]
    languages: NDArray[np.str_]
    """`none` where there is none."""
    measures: NDArray[np.float32]
    """[recordings, len(MEASURES)]."""
    hops: NDArray[np.int64]
    """Length of its fingerprint."""
    bits: NDArray[np.uint32]
    """[sum of hops]: all fingerprints."""
    identities: NDArray[Any]
    """Of `families.IDENTITY`."""
    words: NDArray[np.uint8]
    sentences: NDArray[Any]
    bands: NDArray[Any]
    """The shard's `Texts`; recordings count from its first."""
    spoken: NDArray[np.uint8]
    """JSON: a sample of the training transcripts, by language."""

    def save(self, directory: Store, number: int) -> None:
        """Keep it beside shard `number`."""
        buffer = io.BytesIO()
        np.savez(buffer, **vars(self))
        directory.write_bytes(_key(number), buffer.getvalue())

    @classmethod
    def load(cls, directory: Store, number: int) -> "Heard":
        """What was kept of shard `number`."""
        with np.load(io.BytesIO(directory.read_bytes(_key(number)))) as found:
            return cls(**found)

    @cached_property
    def sample(self) -> dict[str, list[str]]:
        """Of `spoken`."""
        found: dict[str, list[str]] = json.loads(self.spoken.tobytes())
        return found


def is_heard(directory: Store, number: int) -> bool:
    """Whether shard `number` need not be read again."""
    return directory.exists(_key(number))


def hear(found: ShardRows, held_out: Collection[TaskName], number: int) -> None:
    """Read shard `number` and keep what comparing needs.

    Raises:
        DamagedClipError: a clip is not what its row says.
    """
    directory = found.directory
    clips = list(found.shard(number))
    places = [place for place, clip in enumerate(clips) if clip.origin == (clip.id,)]
    rows = [clips[place] for place in places]
    prints, measured = [np.zeros(0, np.uint32)], []
    with directory.open(shard_key(number)) as stream:
        for portion in _portions(rows):
            waveforms = [_read(directory, stream, row) for row in portion]
            for waveform, power in zip(waveforms, mel_powers(waveforms), strict=True):
                prints.append(fingerprint(power))
                measured.append(background(waveform, power))
    texts = Texts.of(rows, held_out)
    ranks = np.array([SPLIT_ORDER[row.split] for row in rows], np.int8)
    Heard(
        places=np.array(places, np.int32),
        ranks=ranks,
        kinds=np.array([row.kind for row in rows], np.str_),
        languages=np.array([row.language or "none" for row in rows], np.str_),
        measures=_measures(rows, np.array(measured, np.float32).reshape(len(rows), 3)),
        hops=np.array([len(found) for found in prints[1:]], np.int64),
        bits=np.concatenate(prints),
        identities=identities(rows, ranks),
        words=texts.words,
        sentences=texts.sentences,
        bands=texts.bands,
        spoken=np.frombuffer(json.dumps(_spoken(rows)).encode(), np.uint8),
    ).save(directory, number)


def _key(number: int) -> str:
    return f"scratch/heard-{number:05d}.npz"


def _measures(rows: Sequence[PackedClip], sound: NDArray[np.float32]) -> NDArray[np.float32]:
    seconds = [row.num_samples / SAMPLE_RATE for row in rows]
    level = [-20 * np.log10(max(row.rms, 1e-6)) for row in rows]
    rates = clip_tables.characters_per_second(rows)
    rate = np.where([row.kind == "speech" for row in rows], rates, np.nan)
    snr = np.where([row.language is not None for row in rows], sound[:, 0], np.nan)
    return np.column_stack([seconds, level, rate, snr, sound[:, 1:]]).astype(np.float32)


def _spoken(rows: Sequence[PackedClip]) -> dict[str, list[str]]:
    sample = Sample()
    for row in rows:
        if row.split == "train":
            sample.add(row.language, [transcript(row)])
    return sample.texts()


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
    seconds = 0.0
    for row in rows:
        portion.append(row)
        seconds += row.num_samples / SAMPLE_RATE
        if len(portion) == _CLIPS_AT_ONCE or seconds > _SECONDS_AT_ONCE:
            yield portion
            portion, seconds = [], 0.0
    if portion:
        yield portion
