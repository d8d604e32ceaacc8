"""WebDataset shards: FLAC and JSON in plain tars, the same bytes from the same input.

A shard is read by offset, not by scanning (`clips`): the index holds where each FLAC file lies, so
that a loader can follow any planned order and resume anywhere.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import webdataset

from data_contracts.digest import digest_of_bytes
from data_contracts.records import Clip, PackedClip, from_jsonl, to_jsonl
from infra.store import Store
from tasks.decode import encode_flac

INDEX = "corpus/index.jsonl"
"""Written last: a corpus without it is not finished."""


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


def shard_key(number: int) -> str:
    """Where shard `number` lies."""
    return f"corpus/shard-{number:05d}.tar"


def rows_key(number: int) -> str:
    """Where the rows of shard `number` wait until the index is written; after the shard itself."""
    return f"scratch/shard-{number:05d}.json"


def write_shard(directory: Store, number: int, clips: Iterable[MadeClip]) -> list[PackedClip]:
    """Write clips as one tar. Only one waveform need be in memory.

    Owner, mode and time of every member are fixed, so that equal input gives equal bytes.
    """
    buffer = io.BytesIO()
    writer = webdataset.TarWriter(buffer, user="q2a", group="q2a", mode=0o444, mtime=0)
    rows = []
    for position, made in enumerate(clips):
        key = f"{number:05d}{position:05d}"
        flac = encode_flac(made.waveform)
        labels = made.clip.model_dump(mode="json", exclude=_PLACE)
        text = json.dumps(labels, sort_keys=True, ensure_ascii=False).encode()
        writer.write({"__key__": key, "flac": flac, "json": text})
        rows.append(_packed(number, made, flac))
    writer.close()
    directory.write_bytes(shard_key(number), buffer.getvalue())
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as members:
        offsets = [m.offset_data for m in members if m.name.endswith(".flac")]
    return [
        row.model_copy(update={"offset": offset}) for row, offset in zip(rows, offsets, strict=True)
    ]


def _packed(number: int, made: MadeClip, flac: bytes) -> PackedClip:
    """The row of a clip; its offset is known once the tar is complete."""
    clip, waveform = made.clip, made.waveform
    return PackedClip(
        id=clip.id,
        shard=shard_key(number),
        offset=0,
        size=len(flac),
        num_samples=len(waveform),
        cut_seconds=round(made.cut_seconds, 4),
        sha256=digest_of_bytes(flac),
        peak=round(float(np.abs(waveform).max()), 6),
        rms=round(float(np.sqrt(np.mean(waveform**2))), 6),
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
    )


def write_index(directory: Store, rows: Sequence[PackedClip]) -> None:
    """Write the index over all shards, which makes the corpus readable."""
    directory.write_text(INDEX, to_jsonl(rows))


def read_index(corpus: Store) -> list[PackedClip]:
    """All rows of a finished corpus."""
    return from_jsonl(corpus.read_text(INDEX), PackedClip, corpus.path(INDEX))
