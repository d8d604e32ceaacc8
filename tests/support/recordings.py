"""Synthetic recordings and manifests, written without the code that is tested."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data_contracts.records import Clip, PackedClip
from infra.compute.in_process import InProcess
from infra.compute.resources import Resources
from infra.storage.store import Store
from tasks.context import StageContext
from tasks.sources.manifest import DataSource


def tone(
    seconds: float, hz: float = 440.0, rate: int = 16_000, amplitude: float = 0.5
) -> np.ndarray:
    """float64 [num_samples]: a sine."""
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, seed: int) -> np.ndarray:
    """float32 [num_samples] at 16 kHz, which FLAC can't make much smaller."""
    draw = np.random.default_rng(seed)
    return draw.uniform(-0.5, 0.5, round(seconds * 16_000)).astype(np.float32)


def sound_file(
    waveform: np.ndarray, rate: int = 16_000, container: str = "WAV", subtype: str | None = None
) -> bytes:
    """The bytes of a file that libsndfile writes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def row(name: str, **fields: Any) -> dict[str, Any]:
    """A manifest row of English speech, for training."""
    given = {"id": name, "audio": f"{name}.wav", "targets": {"asr": name}, "language": "en"}
    return given | {"split": "train"} | fields


def write_manifest(folder: Path, rows: Sequence[Mapping[str, Any] | str]) -> DataSource:
    """`manifest.jsonl` in `folder`; a string is a line as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.jsonl"
    lines = [line if isinstance(line, str) else json.dumps(line) for line in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return DataSource(manifest=str(path))


def write_tones(folder: Path, names: Sequence[str], seconds: float = 0.5) -> None:
    """`NAME.wav` for each name, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        data = sound_file(tone(seconds, 300 + 40 * number))
        (folder / f"{name}.wav").write_bytes(data)


def packed(clip: Clip, origin: tuple[str, ...] | None = None) -> PackedClip:
    """The index row that a clip would get, with invented audio."""
    fields = {k: v for k, v in clip.model_dump().items() if k in PackedClip.model_fields}
    fields.pop("sha256")
    return PackedClip(
        **fields,
        shard="corpus/shard-00000.tar",
        offset=1,
        size=1,
        num_samples=16_000,
        sha256=hashlib.sha256(clip.id.encode()).hexdigest(),
        rms=0.1,
        origin=origin or (clip.id,),
    )


class _NoTracking:
    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Nobody reads them."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Nobody reads them."""

    def text(self, content: str, file: str) -> None:
        """Nobody reads it."""

    def table(self, rows: Sequence[Mapping[str, object]], file: str) -> None:
        """Nobody reads it."""


def _nobody_listens(text: str) -> None:
    """Progress lines are for people."""


def stage_context(
    folder: Path, inputs: Mapping[str, Store] | None = None, directory: Store | None = None
) -> StageContext:
    """A stage in this process that writes to `folder`."""
    return StageContext(
        directory=directory or Store(str(folder)),
        inputs=inputs or {},
        logger=_NoTracking(),
        compute=InProcess(),
        resources=Resources(backend="process"),
        scratch=folder.parent / f"{folder.name}-scratch",
        progress=_nobody_listens,
    )


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
