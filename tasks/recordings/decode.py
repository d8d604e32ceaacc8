"""Any recording to a 16 kHz mono waveform, or a `DecodeError` that says why not."""

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
_MOST_CHANNELS = 64
_BLOCK_FRAMES = 1 << 14
_PACKET_BLOCK_SAMPLES = 1 << 23
"""Of formats made of packets so many samples of all channels are read at once, 32 MiB: soundfile
seeks after each read, and after a seek in Ogg Opus the next samples are not quite the same.
"""
_PACKETS = frozenset({"OGG", "MP3"})
_TOLERANCE_SECONDS = dict.fromkeys(
    ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64"), 0.01
) | {"MP3": 0.15}
"""What may be missing of the samples that a header counts; encoders of mp3 disagree by two frames,
and Ogg has no count."""
_MOST_FULL_SCALES = 4.0
"""12 dB over it: loud masters reach 2 when a lossy format is decoded, integers as floats 32,768."""
_HEADERLESS = {".g722": "g722", ".gsm": "gsm"}
"""Formats without a header, which FFmpeg can't recognise by their bytes."""
_CONTAINERS = "aac,aiff,amr,flac,g722,gsm,matroska,mov,mp3,ogg,wav"
"""What FFmpeg may open. Its playlists (ffconcat, HLS) would read other files on this machine."""


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
        DecodeError: `empty`, `not_audio`, `damaged`, `not_finite`, `over_full_scale`, `too_short`
            or `silent`.
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
    if (peak := float(np.abs(mono).max())) > _MOST_FULL_SCALES:
        raise DecodeError(
            "over_full_scale",
            f"{name} reaches {peak:.6g} times full scale; at most {_MOST_FULL_SCALES:g} are taken "
            "for a loud recording. Divide integers that are stored as floats by their largest",
        )
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
    if (level := float(np.sqrt(np.mean(waveform**2)))) < MIN_RMS:
        raise DecodeError("silent", f"{name} has a level of {level:.1e}, below {MIN_RMS}")


def _decode_any(data: bytes, name: str, span: _Span) -> tuple[np.ndarray, int, float]:
    """float32 [num_samples, channels] of a span, the rate in Hz, and how many seconds the whole
    lasts.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _HEADERLESS:
        try:
            sound = soundfile.SoundFile(io.BytesIO(data))
        except soundfile.LibsndfileError:
            pass  # m4a and others that libsndfile does not know: FFmpeg may
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
    """Block by block: what a header claims allocates nothing, only samples that are there do.

    Raises:
        DecodeError: `not_audio` for a rate or channels of no recording, `damaged` where samples
            are missing that the header counts.
    """
    rate, claimed = sound.samplerate, sound.frames / sound.samplerate
    if not (_RATES[0] <= rate <= _RATES[1] and sound.channels <= _MOST_CHANNELS):
        raise DecodeError(
            "not_audio",
            f"{name} claims {rate} Hz and {sound.channels} channels; a recording has "
            f"{_RATES[0]} to {_RATES[1]} Hz and at most {_MOST_CHANNELS} channels",
        )
    begin = min(round(span.begin * rate), sound.frames)
    in_packets = sound.format in _PACKETS
    most_frames = _PACKET_BLOCK_SAMPLES // sound.channels if in_packets else _BLOCK_FRAMES
    pieces, missing = [np.zeros((0, 1), np.float32)], round(span.most * rate)
    try:
        # Also to 0: without it libsndfile begins an Ogg Opus stream hundreds of samples too early,
        # and soundfile's own seek after the first block then skips as many.
        sound.seek(begin)
        while missing > 0:
            block = sound.read(min(most_frames, missing), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            pieces.append(block.mean(axis=1, dtype=np.float32, keepdims=True))
            missing -= len(block)
    except soundfile.LibsndfileError as error:
        at = (begin + sum(map(len, pieces))) / rate
        raise DecodeError("damaged", f"{name} can't be read from {at:.1f} s on: {error}") from error
    samples = np.concatenate(pieces)
    there = len(samples) / rate
    wanted = min((sound.frames - begin) / rate, span.most)
    tolerance = _TOLERANCE_SECONDS.get(sound.format, math.inf)
    if there < wanted - tolerance:
        raise DecodeError(
            "damaged",
            f"{name} holds {there:.3f} s where its header claims {wanted:.3f} s. Copy it again",
        )
    return samples, rate, claimed


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
                seconds = max((container.duration or 0) / av.time_base, count / rate)
                break
        else:
            seconds = count / rate
        begin = round(span.begin * rate) - skipped
        samples = np.concatenate(pieces)[begin : begin + round(span.most * rate)]
        return samples, rate, seconds
