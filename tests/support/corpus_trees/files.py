"""Files of corpora: real recordings in every container, tables, texts and tars."""

import csv
import io
import tarfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile

DATA = Path(__file__).parents[3] / "data/audio"
RATE = 16_000


@cache
def recordings() -> tuple[np.ndarray, ...]:
    """Ten real recordings of speech, int16 at 16 kHz, all different."""
    paths = sorted(DATA.glob("tuxpaint*/**/*.opus"))[:10]
    found = tuple(soundfile.read(path, dtype="int16") for path in paths)
    assert all(rate == RATE for _, rate in found)
    return tuple(samples for samples, _ in found)


def as_file(samples: np.ndarray, container: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=container)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32")[0])


def sound(number: int, path: Path) -> np.ndarray:
    """Write a recording in the format of the path's suffix; what soundfile decodes of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = as_file(recordings()[number], path.suffix[1:].upper())
    path.write_bytes(data)
    return decoded(data)


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)


def table(path: Path, rows: Iterable[Sequence[object]], encoding: str = "utf-8") -> None:
    """A CSV file as pandas and csv write it."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    text(path, buffer.getvalue(), encoding)


def tsv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """A TSV file without any quoting."""
    text(path, "".join("\t".join(map(str, row)) + "\n" for row in rows))


def video(samples: np.ndarray, path: Path) -> None:
    """An mp4 with a picture stream and AAC sound, as MELD's clips have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width = picture.height = 32
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        picture.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(picture.encode(frame))
        sound_frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound_frame.rate = RATE
        container.mux(stream.encode(sound_frame))
        container.mux(picture.encode() + stream.encode())


def soundtrack(path: Path, begin: float, seconds: float) -> np.ndarray:
    """A long stereo video soundtrack at 44.1 kHz; what soundfile reads of a part of it."""
    speech = np.concatenate([*recordings(), *recordings()[::-1], *recordings()])
    samples = np.stack([speech, speech // 2], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)
    with soundfile.SoundFile(path) as opened:
        opened.seek(round(begin * RATE))
        part = opened.read(round(seconds * RATE), dtype="float32")
    return np.asarray(part.mean(axis=1, dtype=np.float32))


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
