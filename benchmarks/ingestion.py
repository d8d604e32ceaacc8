"""Row of ingest: the memory that it takes for many recordings.

Decoding a million recordings takes this machine hours, so two things are left out of ingest here.
Reading, decoding and encoding: each row gets the same fifth of a second of FLAC. And hygiene, which
compares all recordings with all and holds them. All else is what `q2a ingest` runs: reading and
checking the manifest, planning, shards with sidecars, dialogues, prompts, suites and the index.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.harness import Condition, Race, Row, peak_bytes
from benchmarks.memory import RETURN_MEMORY
from data_contracts.records import SourceFile, Split
from infra.compute import InProcess, Resources
from infra.store import Store
from tasks import ingest as stage
from tasks.codec import encode_audio
from tasks.compose import ComposeRecipe
from tasks.context import StageContext
from tasks.corpus_index import CorpusIndex
from tasks.hygiene.inspection import Hygiene
from tasks.hygiene.scan import MEASURES, Scan
from tasks.hygiene.search import Prints
from tasks.long_audio import Kept
from tasks.manifest import DataSource

_ROWS = (30_000, 300_000)
_MOST_BYTES_A_ROW = 50
"""A million rows then take 50 MB more than a few."""
_MAX_PARTS = 1000
"""Of the recordings of a kind that may become parts of compositions; the recipe's 20,000 would fill
up over the first hundred thousand rows, and look like growth."""
_BAD_EVERY = 1000
"""One row in so many names no recording that may be read."""
_WAVEFORM = np.random.default_rng(0).uniform(-0.5, 0.5, 3200).astype(np.float32)
_SPLITS: tuple[Split, ...] = ("train", "train", "train", "dev", "test")


def ingest(sizes: tuple[int, int] = _ROWS) -> Iterator[Row]:
    """How much more memory a large corpus takes than a small one, each in a process of its own."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MALLOC_")}
    os.environ.update(RETURN_MEMORY)  # read when a process starts
    try:
        found = []
        for count in sizes:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                found.append(process.submit(_ingested, count).result())
    finally:
        for name in RETURN_MEMORY:
            del os.environ[name]
        os.environ.update(kept)
    peaks, seconds, lost = ([run[i] for run in found] for i in range(3))
    growth = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
    yield Row(
        name="ingest, memory",
        work=f"{sizes[0]} rows {peaks[0] / 1e6:.0f} MB, {sizes[1]} rows {peaks[1] / 1e6:.0f} MB; "
        "without decoding, hygiene",
        race=Race(seconds[1], seconds[1], 1.0),
        goal=None,
        stretch=None,
        conditions=(
            Condition("more bytes a row", growth, "<=", _MOST_BYTES_A_ROW),
            Condition("rows lost, repeated or out of order", sum(lost), "<=", 0),
        ),
    )


def _ingested(count: int) -> tuple[int, float, int]:
    """Peak of memory in bytes, CPU seconds and rows that are not where they must be."""
    flac = encode_audio(_WAVEFORM, "flac")
    kept = Kept(_WAVEFORM, 0.0), (SourceFile(audio="tiny.flac", sha256="0" * 64),)
    with (
        TemporaryDirectory() as folder,
        patch("tasks.packing.make_waveform", lambda *_: kept),
        patch("tasks.shards.encode_audio", lambda *_: flac),
        patch("tasks.hygiene.inspection.examine", lambda *_: _unheard()),
    ):
        _run(Path(folder, "warm"), 1000)
        start = time.process_time()
        peak = peak_bytes(lambda: _run(Path(folder, "measured"), count))
        seconds = time.process_time() - start
        return peak, seconds, _misplaced(Path(folder, "measured"), count)


def _run(folder: Path, count: int) -> None:
    folder.mkdir()
    manifest = folder / "manifest.jsonl"
    with manifest.open("w") as stream:
        stream.writelines(json.dumps(_manifest_row(i)) + "\n" for i in range(count))
    context = StageContext(
        directory=Store(str(folder / "out")),
        inputs={},
        logger=_Unread(),
        compute=InProcess(),
        resources=Resources(backend="process"),
        scratch=folder / "scratch",
        progress=lambda _: None,
    )
    recipe = stage.IngestRecipe(compose=ComposeRecipe(max_parts=_MAX_PARTS))
    result = stage.run(context, recipe, DataSource(manifest=str(manifest)))
    assert result.records_in == count
    assert result.rejected == -(-count // _BAD_EVERY)


def _misplaced(folder: Path, count: int) -> int:
    index = CorpusIndex(Store(str(folder / "out")))
    wanted = (_name(i) for i in range(count) if i % _BAD_EVERY)
    ids = [index.id(number) for number in range(len(index))]
    return sum(a != b for a, b in zip(ids, wanted, strict=True))


def _name(number: int) -> str:
    return f"clip-{number:07d}"


def _manifest_row(number: int) -> dict[str, Any]:
    """Speech, and every tenth a sound."""
    sound = {"sound": f"group {number % 50}", "caption": f"sound number {number}"}
    speech = {"asr": f"The words of sentence number {number}", "lid": "English"}
    return {
        "id": _name(number),
        "audio": "tiny.flac" if number % _BAD_EVERY else "pipe:cat tiny.flac",
        "targets": speech if number % 10 else sound,
        "language": "en" if number % 10 else None,
        "kind": "speech" if number % 10 else "sound",
        "split": _SPLITS[number % 5],
        "phrase": f"sentence number {number}",
        "speaker": f"speaker {number % 5}/{number % 5000}",
        "source": "benchmark",
    }


def _unheard() -> Hygiene:
    nothing = np.zeros((0, len(MEASURES)), np.float32)
    return Hygiene(Scan((), Prints.join([]), nothing), (), 0, "")


class _Unread:
    """Tracking that nobody looks at."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Drop them."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Drop them."""

    def text(self, content: str, file: str) -> None:
        """Drop it."""

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        """Drop it."""
