"""Copies of a recording as they turn up in other corpora: other level, format, rate, cut."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr

from tasks.recordings.decode import decode

ROOT = Path(__file__).parents[2]
RATE = 16_000


def manifest_rows() -> list[dict[str, Any]]:
    """The embedded corpus, with audio paths that work from everywhere."""
    rows = [json.loads(line) for line in (ROOT / "data/manifest.jsonl").read_text().splitlines()]
    return [row | {"audio": str(ROOT / "data" / row["audio"])} for row in rows]


def read(row: Mapping[str, Any]) -> np.ndarray:
    """float32 [num_samples] at 16 kHz."""
    path = Path(row["audio"])
    return decode(path.read_bytes(), path.name).waveform


def encode(waveform: np.ndarray, container: str, codec: str, rate: int, bits: int | None) -> bytes:
    """A file that FFmpeg writes, at `bits` a second where the codec has a choice."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.layout = "mono"
        if bits:
            stream.bit_rate = bits
        samples = soxr.resample(waveform, RATE, rate) if rate != RATE else waveform
        frame = av.AudioFrame.from_ndarray(
            (np.clip(samples, -1, 1) * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate = rate
        convert = av.AudioResampler(stream.codec_context.format, "mono", rate)
        queue = av.AudioFifo()
        for converted in convert.resample(frame):
            queue.write(converted)
        size = stream.codec_context.frame_size or 1024
        while (piece := queue.read(size, partial=True)) is not None:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def as_mp3(waveform: np.ndarray) -> bytes:
    """64 kbit/s at 44.1 kHz."""
    return encode(waveform, "mp3", "libmp3lame", 44_100, 64_000)


def as_opus(waveform: np.ndarray) -> bytes:
    """32 kbit/s."""
    return encode(waveform, "ogg", "libopus", 48_000, 32_000)


def as_g722(waveform: np.ndarray) -> bytes:
    """64 kbit/s, headerless."""
    return encode(waveform, "g722", "g722", RATE, None)


def louder(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """The same at another level."""
    return (waveform * 10 ** (decibels / 20)).astype(np.float32)


def delayed(waveform: np.ndarray, seconds: float) -> np.ndarray:
    """With silence in front."""
    return np.concatenate([np.zeros(round(seconds * RATE), np.float32), waveform])


def trimmed(waveform: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Without a share of it at both ends."""
    cut = round(len(waveform) * share)
    return waveform[cut : len(waveform) - cut]


def telephone(waveform: np.ndarray) -> np.ndarray:
    """Nothing above 4 kHz."""
    narrow = soxr.resample(waveform, RATE, 8_000)
    return np.asarray(soxr.resample(narrow, 8_000, RATE), np.float32)


COPIES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "12 dB quieter, MP3": lambda w: decode(as_mp3(louder(w, -12)), "a.mp3").waveform,
    "Opus": lambda w: decode(as_opus(w), "a.opus").waveform,
    "G.722": lambda w: decode(as_g722(w), "a.g722").waveform,
    "30 ms later": lambda w: delayed(w, 0.03),
    "35 ms later, 12 dB quieter, Opus": lambda w: (
        decode(as_opus(louder(delayed(w, 0.035), -12)), "a.opus").waveform
    ),
    "a tenth off both ends": trimmed,
    "8 kHz": telephone,
    "half a second of silence around": lambda w: delayed(np.pad(w, (0, RATE // 2)), 0.5),
}


def draw(rows: Sequence[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows, drawn without replacement."""
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return [rows[i] for i in sorted(chosen)]
