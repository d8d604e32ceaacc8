"""WebDataset shards: audio and JSON in plain tars, the same bytes from the same input.

A shard is read by offset, not by scanning: its sidecar, a JSONL file of the same name, holds where
each audio file lies and all that is known about it. It is written after the tar, so a shard with a
sidecar that agrees with it is finished, and one that is damaged can be made again alone. The index
is all sidecars' rows behind one another.
"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from pydantic import ValidationError

from data_contracts.digest import digest_of_bytes
from data_contracts.jsonl import R, iter_jsonl, to_jsonl
from data_contracts.records import Clip, PackedClip, Record, Rejected, ShardSummary, SourceFile
from infra.storage.store import Store
from infra.storage.tar_writer import TarWriter
from model.audio import SAMPLE_RATE, num_audio_tokens
from tasks.recordings.codec import Codec, codec_of, encode_audio

INDEX = "corpus/index.jsonl"
"""Written last: a corpus without it is not finished."""
SHARDS = "corpus/shards.jsonl"
"""The summaries of all shards, in order; `shard` with the ending `.jsonl` is the sidecar."""

_FULL_SCALE = 32_767 / 32_768
"""The largest sample of 16 bits; FLAC holds no larger one."""
_PLACE = {
    "audio", "begin_byte", "num_bytes", "begin_seconds", "end_seconds", "sha256", "seconds"
}  # fmt: skip
"""What a row says about the file that a clip was made of."""


@dataclass(frozen=True)
class MadeClip:
    """A clip that is ready to be written."""

    clip: Clip
    waveform: np.ndarray
    """float32 [num_samples]."""
    cut_seconds: float
    """What was left out of it."""
    origin: tuple[str, ...]
    """The manifest ids that it was made of."""
    sources: tuple[SourceFile, ...] = ()
    """Their files."""


@dataclass(frozen=True)
class EncodedClip:
    """A clip as the bytes that a shard holds."""

    row: PackedClip
    """Its offset is known once it is written."""
    audio: bytes
    labels: bytes
    """JSON."""


def shard_key(number: int) -> str:
    """Where shard `number` lies."""
    return f"corpus/shard-{number:05d}.tar"


def sidecar_key(number: int) -> str:
    """Where the rows of shard `number` lie."""
    return f"corpus/shard-{number:05d}.jsonl"


def encode_clip(made: MadeClip, number: int, codec: Codec) -> EncodedClip:
    """Audio, labels and row of a clip of shard `number`."""
    clip, waveform, audio = made.clip, made.waveform, encode_audio(made.waveform, codec)
    labels = clip.model_dump(mode="json", exclude=_PLACE)
    text = json.dumps(labels, sort_keys=True, ensure_ascii=False).encode()
    row = PackedClip(
        id=clip.id,
        shard=shard_key(number),
        offset=0,
        size=len(audio),
        num_samples=len(waveform),
        audio_tokens=num_audio_tokens(len(waveform)),
        cut_seconds=round(made.cut_seconds, 4),
        sha256=digest_of_bytes(audio),
        rms=round(float(np.sqrt(np.mean(waveform**2))), 6),
        clipped_share=round(float(np.mean(np.abs(waveform) >= _FULL_SCALE)), 6),
        targets=clip.targets,
        question=clip.question,
        conversation=clip.conversation,
        language=clip.language,
        target_language=clip.target_language,
        speaker=clip.speaker,
        split=clip.split,
        phrase=clip.phrase,
        kind=clip.kind,
        source=clip.source,
        license=clip.license,
        origin=made.origin,
        sources=made.sources,
    )
    return EncodedClip(row, audio, text)


def write_shard(
    directory: Store,
    number: int,
    outcomes: Iterable[MadeClip | Rejected],
    codec: Codec = "flac",
) -> list[PackedClip]:
    """Write what became of a shard's records: a tar of the clips, then its sidecar.

    Only one waveform need be in memory. Returns the rows of the clips.
    """
    encoded = (
        made if isinstance(made, Rejected) else encode_clip(made, number, codec)
        for made in outcomes
    )
    return write_encoded(directory, number, encoded)


def write_encoded(
    directory: Store, number: int, outcomes: Iterable[EncodedClip | Rejected]
) -> list[PackedClip]:
    """Write clips that are encoded as one tar, then its sidecar; returns their rows."""
    rows: list[PackedClip] = []
    rejected: list[Rejected] = []
    with directory.create(shard_key(number)) as stream:
        tar = TarWriter(stream)
        for made in outcomes:
            if isinstance(made, Rejected):
                rejected.append(made)
                continue
            key = f"{number:05d}{len(rows):05d}"
            offset = tar.add(f"{key}.{codec_of(made.audio)}", made.audio)
            tar.add(f"{key}.json", made.labels)
            rows.append(made.row.model_copy(update={"offset": offset}))
        digest = tar.finish()
    body = to_jsonl([*rows, *rejected])
    summary = ShardSummary(
        shard=shard_key(number),
        size=tar.size,
        sha256=digest,
        clips=len(rows),
        rejected=len(rejected),
        seconds=round(sum(row.num_samples for row in rows) / SAMPLE_RATE, 4),
        audio_tokens=sum(row.audio_tokens for row in rows),
        rows_sha256=digest_of_bytes(body.encode()),
    )
    directory.write_text(sidecar_key(number), to_jsonl([summary]) + body)
    return rows


def read_summary(directory: Store, number: int) -> ShardSummary:
    """What shard `number` is, by its sidecar."""
    with directory.open(sidecar_key(number)) as stream:
        return ShardSummary.model_validate_json(stream.readline())


def find_shard(directory: Store, number: int) -> ShardSummary | None:
    """The summary of a shard that is there and whole: sidecar and tar agree, byte for byte."""
    try:
        first, _, body = directory.read_bytes(sidecar_key(number)).partition(b"\n")
        summary = ShardSummary.model_validate_json(first)
        whole = (
            digest_of_bytes(body) == summary.rows_sha256
            and directory.size(shard_key(number)) == summary.size
            and directory.digest(shard_key(number)) == summary.sha256
        )
    except (FileNotFoundError, ValidationError):
        return None
    return summary if whole else None


@dataclass(frozen=True)
class ShardRows(Iterable[PackedClip]):
    """The rows of the first `num_shards` shards, in order and as often as they are iterated."""

    directory: Store
    num_shards: int
    without: frozenset[str] = frozenset()
    """Clips that stay in their shards and out of the corpus."""

    def __iter__(self) -> Iterator[PackedClip]:
        for number in range(self.num_shards):
            for row in self.shard(number):
                if row.id not in self.without:
                    yield row

    def shard(self, number: int) -> Iterator[PackedClip]:
        """The rows of one shard, also those of clips that stay out."""
        name, summary, lines = self._sidecar(number)
        yield from iter_jsonl(islice(lines, summary.clips), PackedClip, name)

    def rejected(self) -> Iterator[Rejected]:
        """The records that were not packed."""
        for number in range(self.num_shards):
            name, summary, lines = self._sidecar(number)
            yield from iter_jsonl(islice(lines, summary.clips, None), Rejected, name)

    def _sidecar(self, number: int) -> tuple[str, ShardSummary, Iterator[bytes]]:
        lines = io.BytesIO(self.directory.read_bytes(sidecar_key(number)))
        summary = ShardSummary.model_validate_json(lines.readline())
        return self.directory.path(sidecar_key(number)), summary, lines


@dataclass(frozen=True)
class JsonLines(Iterable[R]):
    """The records of a JSONL file, as often as they are iterated."""

    directory: Store
    key: str
    record: type[R]

    def __iter__(self) -> Iterator[R]:
        with self.directory.open(self.key) as stream:
            yield from iter_jsonl(stream, self.record, self.directory.path(self.key))


def write_index(directory: Store, rows: Iterable[PackedClip]) -> None:
    """Write the index over all shards, which makes the corpus readable."""
    write_rows(directory, INDEX, rows)


def write_rows(directory: Store, key: str, rows: Iterable[Record]) -> None:
    """Write records as JSONL without holding them."""
    with directory.create(key) as stream:
        for row in rows:
            stream.write(row.model_dump_json().encode() + b"\n")


def iter_index(corpus: Store) -> Iterator[PackedClip]:
    """The rows of a finished corpus, one after the other."""
    return iter(JsonLines(corpus, INDEX, PackedClip))


def read_index(corpus: Store) -> list[PackedClip]:
    """All rows of a finished corpus."""
    return list(iter_index(corpus))
