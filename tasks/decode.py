"""Any recording to a 16 kHz mono waveform, or a `DecodeError` that says why not."""

import errno
import io
import math
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import av
import fsspec
import numpy as np
import soundfile
import soxr

from model.audio import MAX_SECONDS, SAMPLE_RATE, num_audio_tokens
from tasks.locations import RefusedLocationError, check_location

Reason = Literal[
    "invalid_row",
    "missing_file",
    "refused_url",
    "not_audio",
    "empty",
    "too_short",
    "too_long",
    "too_long_to_cut",
    "not_finite",
    "silent",
    "digest_differs",
]

_SILENCE_RMS = 1e-4
"""-80 dB below full scale: no recording of ours that holds a sound is this quiet."""
_HEADERLESS = {".g722": "g722", ".gsm": "gsm"}
"""Formats without a header, which FFmpeg can't recognise by their bytes."""
_CONTAINERS = "aac,aiff,amr,flac,g722,gsm,matroska,mov,mp3,ogg,wav"
"""What FFmpeg may open. Its playlists (ffconcat, HLS) would read other files on this machine."""
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_MISSING_ERRNO = (errno.ENAMETOOLONG, errno.ELOOP)


class DecodeError(ValueError):
    """A recording can't become a clip."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


class Recording(NamedTuple):
    """A decoded file, or its beginning."""

    waveform: np.ndarray
    """float32 [num_samples] at 16 kHz."""
    seconds: float
    """How long the whole file lasts; where not all of it was decoded, as its header tells."""


class _Span(NamedTuple):
    """A part of a file, in seconds."""

    begin: float
    most: float
    """How much of it at most."""


def read_audio(url: str, begin_byte: int = 0, num_bytes: int | None = None) -> bytes:
    """Bytes of a recording on a path or fsspec URL, or that lies in the file there.

    Raises:
        DecodeError: `refused_url` for a protocol that is not a file store, `missing_file`.
        OSError: the store itself does not answer; the run can continue later.
    """
    try:
        check_location(url)
    except RefusedLocationError as error:
        raise DecodeError("refused_url", str(error)) from error
    try:
        with fsspec.open(url, "rb") as stream:
            stream.seek(begin_byte)
            data = bytes(stream.read() if num_bytes is None else stream.read(num_bytes))
    except OSError as error:
        if isinstance(error, _MISSING) or error.errno in _MISSING_ERRNO:
            raise DecodeError("missing_file", f"{url} can't be read: {error}") from error
        raise  # a network or disk that fails says nothing about the recording
    if num_bytes is not None and len(data) < num_bytes:
        detail = f"{url} ends before byte {begin_byte + num_bytes}, where the recording would end"
        raise DecodeError("missing_file", detail)
    return data


def decode(
    data: bytes,
    name: str,
    max_seconds: float = MAX_SECONDS,
    begin_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> Recording:
    """Decode wav, flac, mp3, ogg (vorbis, opus), m4a, g722 or gsm to 16 kHz mono.

    Channels are averaged and the rate is converted (soxr, high quality). The file name only matters
    for formats without a header. Of a recording longer than `max_seconds`, the waveform holds a
    second more than that, so that its first `max_seconds` are those of the whole.

    Args:
        begin_seconds, end_seconds: the part that is wanted, whose length is then that of the
            recording; cut before the rate is converted.

    Raises:
        DecodeError: `empty`, `not_audio`, `not_finite`, `too_short` or `silent`.
    """
    if not data:
        raise DecodeError("empty", f"{name} has no bytes")
    wanted = math.inf if end_seconds is None else end_seconds - begin_seconds
    span = _Span(begin_seconds, min(max_seconds + 1, wanted))
    channels_last, rate, seconds = _decode_any(data, name, span)
    if channels_last.shape[0] == 0:
        detail = f"{name} holds no samples"
        if begin_seconds:
            detail += f" from {begin_seconds} s on: it ends after {seconds:.3f} s"
        raise DecodeError("empty", detail)
    seconds = min(seconds - begin_seconds, wanted)
    mono = channels_last.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():  # before the clipping, which would make 1 of infinity
        raise DecodeError("not_finite", f"{name} holds NaN or infinite samples")
    waveform = soxr.resample(mono, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else mono
    waveform = np.clip(waveform, -1.0, 1.0).astype(np.float32)
    check_clip(waveform, name)
    return Recording(waveform, max(seconds, len(waveform) / SAMPLE_RATE))


def check_clip(waveform: np.ndarray, name: str) -> None:
    """Refuse float32 [num_samples] that the network can't hear.

    Raises:
        DecodeError: `too_short` or `silent`.
    """
    seconds = len(waveform) / SAMPLE_RATE
    if num_audio_tokens(len(waveform)) < 1:
        raise DecodeError("too_short", f"{name} lasts {seconds:.3f} s, less than one audio token")
    if (level := float(np.sqrt(np.mean(waveform**2)))) < _SILENCE_RMS:
        raise DecodeError("silent", f"{name} has a level of {level:.1e}, below {_SILENCE_RMS}")


def encode_flac(waveform: np.ndarray) -> bytes:
    """16-bit FLAC of a 16 kHz mono waveform. The same samples give the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes) -> np.ndarray:
    """float32 [num_samples] of a clip that `encode_flac` wrote."""
    waveform, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    return np.asarray(waveform)


def _decode_any(data: bytes, name: str, span: _Span) -> tuple[np.ndarray, int, float]:
    """float32 [num_samples, channels] of a span, the rate in Hz, and how many seconds the whole
    lasts.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _HEADERLESS:
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as sound:
                rate = sound.samplerate
                sound.seek(min(round(span.begin * rate), sound.frames))
                samples = sound.read(round(span.most * rate), dtype="float32", always_2d=True)
                return samples, rate, sound.frames / rate
        except soundfile.LibsndfileError:
            pass  # m4a and others that libsndfile does not know: FFmpeg may
    try:
        return _decode_with_ffmpeg(data, _HEADERLESS.get(suffix), span)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError("not_audio", f"{name} can't be decoded: {error}") from error


def _decode_with_ffmpeg(
    data: bytes, container_format: str | None, span: _Span
) -> tuple[np.ndarray, int, float]:
    """Raises FFmpegError, or ValueError where rate or channels change on the way."""
    options = {"format_whitelist": _CONTAINERS}
    with av.open(io.BytesIO(data), format=container_format, options=options) as container:
        if not container.streams.audio:
            raise ValueError("no audio stream")
        as_float = av.AudioResampler(format="fltp")
        pieces, rate, count = [np.zeros((0, 1), np.float32)], SAMPLE_RATE, 0
        skipped = 0
        for frame in container.decode(container.streams.audio[0]):
            for converted in as_float.resample(frame):
                rate = converted.sample_rate
                # Averaged here: FFmpeg's own down-mix of floats is 3 dB louder.
                pieces.append(converted.to_ndarray().mean(axis=0, dtype=np.float32)[:, None])
                count += len(pieces[-1])
                if count <= round(span.begin * rate):
                    pieces, skipped = pieces[:1], count
            if count >= (span.begin + span.most) * rate:
                break
        begin = round(span.begin * rate) - skipped
        samples = np.concatenate(pieces)[begin : begin + round(span.most * rate)]
        return samples, rate, max((container.duration or 0) / av.time_base, count / rate)
