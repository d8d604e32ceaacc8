"""Decodes any recording to a 16 kHz mono waveform, or raises a `DecodeError` that says why not."""

import io
import math
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import av
import numpy as np
import soundfile
import soxr

from data_contracts.audio_limits import MIN_RMS
from model.audio import MAX_SECONDS, SAMPLE_RATE, num_audio_tokens
from tasks.recordings.truncation import knows_its_length, lost_end

Reason = Literal[
    "invalid_row",
    "missing_file",
    "refused_url",
    "too_large",
    "not_audio",
    "damaged",
    "empty",
    "too_short",
    "too_long",
    "too_long_to_cut",
    "ends_early",
    "not_finite",
    "over_full_scale",
    "silent",
    "too_quiet",
    "mostly_quiet",
    "digest_differs",
]

_RATES = (1_000, 768_000)
"""Lowest and highest sampling rate of a recording, in Hz."""
_MAX_CHANNELS = 64
_BLOCK_FRAMES = 1 << 14
_PACKET_BLOCK_SAMPLES = 1 << 23
"""Samples of all channels that are read at once of formats made of packets (32 MiB): soundfile
seeks after each read, and after a seek in Ogg Opus the next samples are not quite the same.
"""
_PACKETS = frozenset({"OGG", "MP3"})
_TOLERANCE_SECONDS = dict.fromkeys(
    ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"), 0.01
) | {"MP3": 0.15}
"""Seconds by which a file may be shorter than its header says; encoders of mp3 disagree by two
frames, and Ogg has no count of samples."""
_MAX_FULL_SCALES = 4.0
"""Highest peak, in multiples of full scale (12 dB above it): loud masters reach 2 when a lossy
format is decoded, integers that are stored as floats 32,768."""
_HEADERLESS = {".g722": "g722", ".gsm": "gsm"}
"""Formats without a header, which FFmpeg can't recognise by their bytes."""
_CONTAINERS = "aac,aiff,amr,flac,g722,gsm,matroska,mov,mp3,ogg,wav"
"""Formats that FFmpeg may open. Its playlists (ffconcat, HLS) would read other local files."""


class DecodeError(ValueError):
    """A recording can't become a clip; `reason` says why, `detail` in words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


class Recording(NamedTuple):
    """A decoded file, or its beginning."""

    waveform: np.ndarray
    """float32 [num_samples] at 16 kHz."""
    seconds: float
    """Duration of the whole file; where not all of it was decoded, according to its header."""


class _Span(NamedTuple):
    """A part of a file, in seconds."""

    begin: float
    max_length: float


def decode(
    data: bytes,
    name: str,
    max_seconds: float = MAX_SECONDS,
    begin_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> Recording:
    """Decode wav, flac, mp3, ogg (vorbis, opus), m4a, g722 or gsm to 16 kHz mono.

    Channels are averaged and the rate is converted (soxr, high quality). The file name only matters
    for formats without a header. The waveform of a recording longer than `max_seconds` is one
    second longer than that, so that its first `max_seconds` equal those of the whole recording.

    Args:
        begin_seconds, end_seconds: the part to decode, which then counts as the recording; it is
            cut before the rate is converted.

    Raises:
        DecodeError: `empty`, `not_audio`, `damaged`, `not_finite`, `over_full_scale`, `too_short`
            or `silent`.
    """
    if not data:
        raise DecodeError("empty", f"{name} has no bytes")
    length = math.inf if end_seconds is None else end_seconds - begin_seconds
    span = _Span(begin_seconds, min(max_seconds + 1, length))
    channels_last, rate, seconds = _decode_any(data, name, span)
    if channels_last.shape[0] == 0:
        detail = f"{name} holds no samples"
        if begin_seconds:
            detail += f" from {begin_seconds} s on: it ends after {seconds:.3f} s"
        raise DecodeError("empty", detail)
    seconds = min(seconds - begin_seconds, length)
    mono = channels_last.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():  # before the clipping, which would make 1 of infinity
        raise DecodeError("not_finite", f"{name} holds NaN or infinite samples")
    if (peak := float(np.abs(mono).max())) > _MAX_FULL_SCALES:
        raise DecodeError(
            "over_full_scale",
            f"{name} reaches {peak:.6g} times full scale; a loud recording reaches at most "
            f"{_MAX_FULL_SCALES:g}. Divide integers that are stored as floats by their maximum",
        )
    waveform = soxr.resample(mono, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else mono
    waveform = np.clip(waveform, -1.0, 1.0).astype(np.float32)
    check_clip(waveform, name)
    return Recording(waveform, max(seconds, len(waveform) / SAMPLE_RATE))


def check_clip(waveform: np.ndarray, name: str) -> None:
    """Refuse a waveform, float32 [num_samples], that is too short for the network or silent.

    Raises:
        DecodeError: `too_short` or `silent`.
    """
    seconds = len(waveform) / SAMPLE_RATE
    if num_audio_tokens(len(waveform)) < 1:
        raise DecodeError("too_short", f"{name} lasts {seconds:.3f} s, less than one audio token")
    if (level := float(np.sqrt(np.mean(waveform**2)))) < MIN_RMS:
        raise DecodeError("silent", f"{name} has a level of {level:.1e}, below {MIN_RMS}")


def _decode_any(data: bytes, name: str, span: _Span) -> tuple[np.ndarray, int, float]:
    """Decode a span with libsndfile or FFmpeg.

    Returns:
        float32 [num_samples, channels] of the span, the rate in Hz, and the duration of the whole
        file in seconds.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _HEADERLESS:
        try:
            sound = soundfile.SoundFile(io.BytesIO(data))
        except soundfile.LibsndfileError:
            pass  # m4a and others that libsndfile does not know, and FFmpeg may
        else:
            if lost := lost_end(data):
                raise DecodeError("damaged", f"{name} lost its end: {lost}. Copy it again")
            with sound:
                if knows_its_length(data, sound.format):
                    return _read_sound(sound, name, span)
    try:
        return _decode_with_ffmpeg(data, _HEADERLESS.get(suffix), span)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError("not_audio", f"{name} can't be decoded: {error}") from error


def _read_sound(
    sound: soundfile.SoundFile, name: str, span: _Span
) -> tuple[np.ndarray, int, float]:
    """Read a span block by block, so that memory follows the samples and not the header's claims.

    Raises:
        DecodeError: `not_audio` for an impossible rate or number of channels, `damaged` where the
            file is shorter than its header says.
    """
    rate, claimed_seconds = sound.samplerate, sound.frames / sound.samplerate
    if not (_RATES[0] <= rate <= _RATES[1] and sound.channels <= _MAX_CHANNELS):
        raise DecodeError(
            "not_audio",
            f"{name} claims {rate} Hz and {sound.channels} channels; a recording has "
            f"{_RATES[0]} to {_RATES[1]} Hz and at most {_MAX_CHANNELS} channels",
        )
    begin = min(round(span.begin * rate), sound.frames)
    in_packets = sound.format in _PACKETS
    block_frames = _PACKET_BLOCK_SAMPLES // sound.channels if in_packets else _BLOCK_FRAMES
    pieces, missing = [np.zeros((0, 1), np.float32)], round(span.max_length * rate)
    try:
        # Also to 0: without it libsndfile begins an Ogg Opus stream hundreds of samples too early,
        # and soundfile's own seek after the first block then skips as many.
        sound.seek(begin)
        while missing > 0:
            block = sound.read(min(block_frames, missing), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            pieces.append(block.mean(axis=1, dtype=np.float32, keepdims=True))
            missing -= len(block)
    except soundfile.LibsndfileError as error:
        end = (begin + sum(map(len, pieces))) / rate
        raise DecodeError(
            "damaged", f"{name} can't be read from {end:.1f} s on: {error}"
        ) from error
    samples = np.concatenate(pieces)
    seconds = len(samples) / rate
    expected = min((sound.frames - begin) / rate, span.max_length)
    tolerance = _TOLERANCE_SECONDS.get(sound.format, math.inf)
    if seconds < expected - tolerance:
        raise DecodeError(
            "damaged",
            f"{name} holds {seconds:.3f} s where its header claims {expected:.3f} s. Copy it again",
        )
    return samples, rate, claimed_seconds


def _decode_with_ffmpeg(
    data: bytes, container_format: str | None, span: _Span
) -> tuple[np.ndarray, int, float]:
    """Decode a span with FFmpeg, with the results of `_decode_any`.

    Raises:
        FFmpegError: the data can't be decoded.
        ValueError: there is no audio, or its rate or channels change on the way.
    """
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
            if count >= (span.begin + span.max_length) * rate:
                seconds = max((container.duration or 0) / av.time_base, count / rate)
                break
        else:
            seconds = count / rate
        begin = round(span.begin * rate) - skipped
        samples = np.concatenate(pieces)[begin : begin + round(span.max_length * rate)]
        return samples, rate, seconds
