"""Decoding, trimming, levelling and Opus coding of one recording."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
TARGET_RMS_DBFS = -23.0
PEAK_LIMIT_DBFS = -1.0
SILENCE_BELOW_LOUDEST_DB = 40.0
SILENCE_FRAME = SAMPLE_RATE // 100
KEPT_MARGIN = SAMPLE_RATE // 20
SHORTEST = int(0.3 * SAMPLE_RATE)
LONGEST = 6 * SAMPLE_RATE
FADE_OUT = SAMPLE_RATE // 20
# Below this loudest frame a file holds nothing but noise of its own format.
SILENT_FILE_DBFS = -70.0


@dataclass(frozen=True)
class Coding:
    """How the Opus encoder treats one kind of sound."""

    bit_rate: int
    application: str


SPEECH = Coding(bit_rate=12_000, application="voip")
SYNTHETIC_SPEECH = Coding(bit_rate=10_000, application="voip")
EFFECT = Coding(bit_rate=16_000, application="audio")
NOTE = Coding(bit_rate=16_000, application="audio")


@dataclass(frozen=True)
class Encoded:
    """What the manifest says about a coded file."""

    seconds: float
    sha256: str


def decode(path: Path) -> Samples:
    """Read any audio file as 16 kHz mono."""
    with av.open(str(path), metadata_errors="replace") as container:
        to_mono = av.AudioResampler(format="fltp", layout="mono")
        frames = [
            frame.to_ndarray()[0]
            for decoded in [*container.decode(audio=0), None]
            for frame in to_mono.resample(decoded)
        ]
        rate = container.streams.audio[0].rate
    if not frames:
        raise ValueError(
            f"{path}: no audio frame could be decoded; a recording must hold sound. "
            "Remove its line from corpus_build/recordings.jsonl."
        )
    samples: Samples = soxr.resample(np.concatenate(frames), rate, SAMPLE_RATE).astype(np.float32)
    return samples


def _decibel(ratio: float) -> float:
    return 20.0 * float(np.log10(max(ratio, 1e-9)))


def _gain(decibel: float) -> float:
    return float(10.0 ** (decibel / 20.0))


def _frame_levels(samples: Samples) -> npt.NDArray[np.float64]:
    """RMS of consecutive frames of 10 ms; the last one is padded with zeros."""
    padded = np.pad(samples, (0, -len(samples) % SILENCE_FRAME)).astype(np.float64)
    levels: npt.NDArray[np.float64] = np.sqrt(
        np.mean(padded.reshape(-1, SILENCE_FRAME) ** 2, axis=1)
    )
    return levels


def trim(samples: Samples) -> Samples:
    """Cut silence at both ends, keep a short margin, limit the length and fade a cut end."""
    levels = _frame_levels(samples)
    loudest = float(levels.max())
    if _decibel(loudest) < SILENT_FILE_DBFS:
        raise ValueError(
            f"loudest frame {_decibel(loudest):.1f} dBFS; a recording must reach "
            f"{SILENT_FILE_DBFS} dBFS. Remove its line from corpus_build/recordings.jsonl."
        )
    audible = np.flatnonzero(levels > loudest * _gain(-SILENCE_BELOW_LOUDEST_DB))
    start = max(0, int(audible[0]) * SILENCE_FRAME - KEPT_MARGIN)
    stop = min(len(samples), (int(audible[-1]) + 1) * SILENCE_FRAME + KEPT_MARGIN)
    kept = samples[start:stop].copy()
    if len(kept) > LONGEST:
        kept = kept[:LONGEST]
        kept[-FADE_OUT:] *= np.linspace(1.0, 0.0, FADE_OUT, dtype=np.float32)
    return np.pad(kept, (0, max(0, SHORTEST - len(kept))))


def level(samples: Samples) -> Samples:
    """Scale to the target RMS, less where the peak would pass its limit."""
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    peak = float(np.abs(samples).max())
    gain = min(_gain(TARGET_RMS_DBFS) / rms, _gain(PEAK_LIMIT_DBFS) / peak)
    return (samples * gain).astype(np.float32)


def write_opus(samples: Samples, path: Path, coding: Coding) -> None:
    """Write Ogg Opus without time stamps or random serial numbers, so that bytes repeat."""
    options = {
        "application": coding.application,
        "vbr": "on",
        "compression_level": "10",
        "frame_duration": "60",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="ogg", container_options={"fflags": "+bitexact"}) as output:
        stream = output.add_stream("libopus", rate=SAMPLE_RATE, options=options, layout="mono")
        stream.bit_rate = coding.bit_rate
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def encode(origin: Path, destination: Path, coding: Coding) -> Encoded:
    """Turn an audio file of any format into a levelled Opus file."""
    try:
        samples = level(trim(decode(origin)))
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
    write_opus(samples, destination, coding)
    digest = hashlib.sha256(destination.read_bytes()).hexdigest()
    return Encoded(seconds=round(len(samples) / SAMPLE_RATE, 3), sha256=digest)
