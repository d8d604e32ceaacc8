"""How a clip's waveform lies in a shard: as FLAC, or as Ogg Opus, a fifth of the size and lossy.

Whoever reads a clip decides by its bytes, here; nothing else need know.
"""

import io
import zlib
from typing import Literal, get_args

import numpy as np
import soundfile

from model.audio import SAMPLE_RATE

Codec = Literal["flac", "opus"]
"""Also the ending of the clip's name in a shard."""

_MAGIC: dict[bytes, Codec] = {b"fLaC": "flac", b"OggS": "opus"}
_MEDIA_TYPES: dict[Codec, str] = {"flac": "audio/flac", "opus": "audio/ogg"}
_SERIAL = slice(14, 18)
_CRC = slice(22, 26)
_PAGE_HEADER_BYTES = 27
"""Ogg page (RFC 3533, section 6): before its table of segments, whose length is the last byte."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class UnknownCodecError(ValueError):
    """The bytes of a clip are in no codec that shards are written in."""


def encode_audio(waveform: np.ndarray, codec: Codec) -> bytes:
    """16-bit FLAC, or Ogg Opus, of a 16 kHz mono waveform; the same samples give the same bytes.

    Opus has libsndfile's default quality, 31 kbit/s on recordings of `data/`, a fifth of FLAC, and
    keeps the number of samples.
    """
    buffer = io.BytesIO()
    if codec == "flac":
        soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="OGG", subtype="OPUS")
    return _with_fixed_serial(buffer.getvalue())


def decode_audio(data: bytes) -> np.ndarray:
    """float32 [num_samples] of a clip that `encode_audio` wrote.

    Raises:
        UnknownCodecError: it did not write these bytes.
        soundfile.LibsndfileError: they are damaged.
    """
    codec_of(data)
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        sound.seek(0)  # without it libsndfile begins Ogg Opus hundreds of samples too early
        return np.asarray(sound.read(dtype="float32"))


def codec_of(data: bytes) -> Codec:
    """What a clip's bytes are encoded in.

    Raises:
        UnknownCodecError: they are neither.
    """
    codec = _MAGIC.get(data[:4])
    if codec is None:
        raise UnknownCodecError(
            f"a clip begins with {data[:4]!r}; shards hold {' or '.join(get_args(Codec))}, which "
            f"begin with {' or '.join(map(repr, _MAGIC))}. Pack the corpus anew with `q2a run`."
        )
    return codec


def media_type(data: bytes) -> str:
    """What a browser calls it, such as audio/flac."""
    return _MEDIA_TYPES[codec_of(data)]


def _with_fixed_serial(ogg: bytes) -> bytes:
    """libsndfile draws the serial number of an Ogg stream at random: make it 0 on every page."""
    pages, start = bytearray(ogg), 0
    while start < len(pages):
        num_segments = pages[start + _PAGE_HEADER_BYTES - 1]
        header = _PAGE_HEADER_BYTES + num_segments
        segments = pages[start + _PAGE_HEADER_BYTES : start + header]
        page = memoryview(pages)[start : start + header + sum(segments)]
        page[_SERIAL] = page[_CRC] = bytes(4)
        page[_CRC] = _ogg_crc(page).to_bytes(4, "little")
        start += len(page)
    return bytes(pages)


def _ogg_crc(page: memoryview) -> int:
    """CRC-32 of polynomial 0x04C11DB7 from the highest bit on, from 0. zlib's begins with the
    lowest bit and with ones, and inverts the result.
    """
    mirrored = zlib.crc32(bytes(page).translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
