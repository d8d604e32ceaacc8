"""WebDataset shards: audio and JSON in plain tars, the same bytes from the same input.

A shard is read by offset, not by scanning: its sidecar, a JSONL file of the same name, holds the
offset of each audio file and all that is known about it. It is written after the tar, so a shard
with a sidecar that agrees with it is finished, and a damaged one can be made again alone. The index
is the concatenation of all sidecars' rows.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

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
"""The summaries of all shards, in order; a sidecar has the name of its shard with `.jsonl`."""

_FULL_SCALE = 32_767 / 32_768
"""Largest sample of 16 bits; FLAC holds no larger one."""
_FILE_FIELDS = {
    "audio", "begin_byte", "num_bytes", "encoding", "cell", "begin_seconds", "end_seconds",
    "sha256", "seconds",
}  # fmt: skip
"""Fields of a row that describe the source file; they are left out of the labels in the tar."""


@dataclass(frozen=True)
class MadeClip:
    """A clip that is ready to be encoded."""

    clip: Clip
    waveform: np.ndarray
    """float32 [num_samples]."""
    cut_seconds: float
    """Seconds that were left out of it."""
    origin: tuple[str, ...]
    """Ids of the manifest rows that it was made of."""
    sources: tuple[SourceFile, ...] = ()
    """Files that it was made of."""


@dataclass(frozen=True)
class EncodedClip:
    """A clip as bytes for a shard."""

    row: PackedClip
    """Row of the index; its offset is set when the clip is written."""
    audio: bytes
    labels: bytes
    """JSON, for readers of the tar alone."""


def shard_key(number: int) -> str:
    """Key of shard `number` in the store."""
    return f"corpus/shard-{number:05d}.tar"


def sidecar_key(number: int) -> str:
    """Key of the sidecar of shard `number`, which holds its rows."""
    return f"corpus/shard-{number:05d}.jsonl"


def encode_clip(made: MadeClip, number: int, codec: Codec) -> EncodedClip:
    """Encode the audio and labels of a clip for shard `number`, and make its row."""
    clip, waveform, audio = made.clip, made.waveform, encode_audio(made.waveform, codec)
    labels = clip.model_dump(mode="json", exclude=_FILE_FIELDS)
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
        rejected=clip.rejected,
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
    """Write the clips of a shard as one tar, then its sidecar with all outcomes; return their rows.

    Only one waveform need be in memory.
    """
    encoded = (
        made if isinstance(made, Rejected) else encode_clip(made, number, codec)
        for made in outcomes
    )
    return write_encoded(directory, number, encoded)


def write_encoded(
    directory: Store, number: int, outcomes: Iterable[EncodedClip | Rejected]
) -> list[PackedClip]:
    """Write encoded clips as one tar, then its sidecar; return their rows."""
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
    summary = _summarise(number, tar.size, digest, rows, rejected)
    directory.write_text(sidecar_key(number), to_jsonl([summary, *rows, *rejected]))
    return rows


def _summarise(
    number: int, size: int, sha256: str, rows: Sequence[PackedClip], rejected: Sequence[Rejected]
) -> ShardSummary:
    return ShardSummary(
        shard=shard_key(number),
        size=size,
        sha256=sha256,
        clips=len(rows),
        rejected=len(rejected),
        seconds=round(sum(row.num_samples for row in rows) / SAMPLE_RATE, 4),
        audio_tokens=sum(row.audio_tokens for row in rows),
        rows_sha256=digest_of_bytes(to_jsonl([*rows, *rejected]).encode()),
    )


def read_summary(directory: Store, number: int) -> ShardSummary:
    """Read the summary of shard `number` from its sidecar."""
    with directory.open(sidecar_key(number)) as stream:
        return ShardSummary.model_validate_json(stream.readline())


def find_shard(directory: Store, number: int) -> ShardSummary | None:
    """Return the summary of a shard that is whole, else None.

    Whole is one whose sidecar is, byte for byte, what would be written for its tar and its rows.
    """
    try:
        sidecar = directory.read_bytes(sidecar_key(number))
        first, *lines = sidecar.splitlines()
        summary = ShardSummary.model_validate_json(first)
        rows = [PackedClip.model_validate_json(line) for line in lines[: summary.clips]]
        rejected = [Rejected.model_validate_json(line) for line in lines[summary.clips :]]
        size, sha256 = directory.size(shard_key(number)), directory.digest(shard_key(number))
    except (FileNotFoundError, ValueError):
        return None
    made = _summarise(number, size, sha256, rows, rejected)
    return made if to_jsonl([made, *rows, *rejected]).encode() == sidecar else None


@dataclass(frozen=True)
class ShardRows(Iterable[PackedClip]):
    """Rows of the first `num_shards` shards, in order; read anew by each iteration."""

    directory: Store
    num_shards: int
    without: frozenset[str] = frozenset()
    """Ids of clips that stay in their shards but are left out of the corpus."""

    def __iter__(self) -> Iterator[PackedClip]:
        for number in range(self.num_shards):
            for row in self.shard(number):
                if row.id not in self.without:
                    yield row

    def shard(self, number: int) -> Iterator[PackedClip]:
        """Read the rows of one shard, also those of clips that are left out."""
        name, summary, lines = self._sidecar(number)
        yield from iter_jsonl(islice(lines, summary.clips), PackedClip, name)

    def rejected(self) -> Iterator[Rejected]:
        """Read the records that were not packed."""
        for number in range(self.num_shards):
            name, summary, lines = self._sidecar(number)
            yield from iter_jsonl(islice(lines, summary.clips, None), Rejected, name)

    def _sidecar(self, number: int) -> tuple[str, ShardSummary, Iterator[bytes]]:
        lines = io.BytesIO(self.directory.read_bytes(sidecar_key(number)))
        summary = ShardSummary.model_validate_json(lines.readline())
        return self.directory.path(sidecar_key(number)), summary, lines


@dataclass(frozen=True)
class JsonLines(Iterable[R]):
    """Records of a JSONL file; read anew by each iteration."""

    directory: Store
    key: str
    record: type[R]

    def __iter__(self) -> Iterator[R]:
        with self.directory.open(self.key) as stream:
            yield from iter_jsonl(stream, self.record, self.directory.path(self.key))


def write_index(directory: Store, rows: Iterable[PackedClip]) -> None:
    """Write the index of all shards, which makes the corpus readable."""
    write_rows(directory, INDEX, rows)


def write_rows(directory: Store, key: str, rows: Iterable[Record]) -> None:
    """Write records as JSONL without holding them."""
    with directory.create(key) as stream:
        for row in rows:
            stream.write(row.model_dump_json().encode() + b"\n")


def iter_index(corpus: Store) -> Iterator[PackedClip]:
    """Iterate over the rows of a finished corpus."""
    return iter(JsonLines(corpus, INDEX, PackedClip))


def read_index(corpus: Store) -> list[PackedClip]:
    """Read all rows of a finished corpus."""
    return list(iter_index(corpus))
