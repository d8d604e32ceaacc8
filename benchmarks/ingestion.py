"""Row of ingest: the memory that it takes for many recordings.

One thing is left out: the files that the recordings come from. Each row gets three quarters of a
second of noise of its own instead, and a sentence of its own. All else is what the stage runs:
reading the manifest, planning, encoding, shards with sidecars, hygiene, which compares all with
all, dialogues, prompts, suites and the index. The contracts before and after it have rows of their
own. `python -m benchmarks ingest-million` measures the size that the goal names; it takes half an
hour.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.harness import Condition, Race, Row, peak_anonymous_bytes
from data_contracts.records import SourceFile, Split
from infra.compute.in_process import InProcess
from infra.compute.resources import Resources
from infra.storage.store import Store
from tasks import ingest as stage
from tasks.context import StageContext
from tasks.corpus.compose import ComposeRecipe, Composition
from tasks.corpus.index import CorpusIndex
from tasks.recordings.long_audio import Kept
from tasks.sources.manifest import DataSource

_ROWS = (50_000, 200_000)
_MILLION = (50_000, 1_000_000)
MOST_BYTES_A_ROW = 50
"""A million rows then take 50 MB more than a few."""
_MAX_PARTS = 1000
"""Of the recordings of a kind that may become parts of compositions; the recipe's 20,000 would fill
up over the first hundred thousand rows, and look like growth."""
_BAD_EVERY = 1000
"""One row in so many names no recording that may be read."""
_SAMPLES, _QUIET_FROM = 12_000, 9000
_SYLLABLES = [c + v for c in "bcdfghjklmnprstv" for v in "aeiou"]
_SPLITS: tuple[Split, ...] = ("train", "train", "train", "dev", "test")


def ingest(sizes: tuple[int, int] = _ROWS) -> Iterator[Row]:
    """How much more memory a large corpus takes than a small one, each in a process of its own."""
    found = []
    for count in sizes:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            found.append(process.submit(_ingested, count).result())
    peaks, seconds, lost = ([run[i] for run in found] for i in range(3))
    growth = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
    yield Row(
        name="ingest, memory",
        work=f"{sizes[0]} rows {peaks[0] / 1e6:.0f} MB, {sizes[1]} rows {peaks[1] / 1e6:.0f} MB; "
        "hygiene included; their files are not",
        race=Race(seconds[1], seconds[1], 1.0),
        goal=None,
        stretch=None,
        conditions=(
            Condition("more bytes a row", growth, "<=", MOST_BYTES_A_ROW),
            Condition("rows lost, repeated or out of order", sum(lost), "<=", 0),
        ),
    )


def ingest_million() -> Iterator[Row]:
    """The same up to a million rows."""
    return ingest(_MILLION)


def _ingested(count: int) -> tuple[int, float, int]:
    """Peak of memory in bytes, CPU seconds and rows that are not where they must be."""
    with (
        TemporaryDirectory() as folder,
        patch("tasks.corpus.packing.make_waveform", _make_waveform),
    ):
        _run(Path(folder, "warm"), 1000)
        start = time.process_time()
        peak = peak_anonymous_bytes(lambda: _run(Path(folder, "measured"), count))
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


def _make_waveform(made: Composition, *_: object) -> tuple[Kept, tuple[SourceFile, ...]]:
    """Noise, and its end 26 dB quieter: of one recording as of no other."""
    draw = np.random.default_rng(list(made.clip.id.encode()))
    waveform = draw.uniform(-0.002, 0.002, _SAMPLES).astype(np.float32)
    waveform[_QUIET_FROM:] *= 0.05
    return Kept(waveform, 0.0), (SourceFile(audio="tiny.flac", sha256="0" * 64),)


def _sentence(number: int) -> str:
    """Two words that no other row says, and that hardly any has in part."""
    scattered = number * 2_654_435_761 % (1 << 32)
    digits = [scattered // len(_SYLLABLES) ** place % len(_SYLLABLES) for place in range(6)]
    syllables = "".join(_SYLLABLES[digit] for digit in digits)
    return f"{syllables[:6]} {syllables[6:]}"


def _manifest_row(number: int) -> dict[str, Any]:
    """Speech, and every tenth a sound."""
    sound = {"sound": f"group {number % 50}", "caption": f"sound number {number}"}
    speech = {"asr": _sentence(number), "lid": "English"}
    return {
        "id": _name(number),
        "audio": "tiny.flac" if number % _BAD_EVERY else "pipe:cat tiny.flac",
        "targets": speech if number % 10 else sound,
        "language": "en" if number % 10 else None,
        "kind": "speech" if number % 10 else "sound",
        "split": _SPLITS[number % 5],
        "phrase": _sentence(number),
        "speaker": f"speaker {number % 5}/{number % 5000}",
        "source": "benchmark",
    }


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
