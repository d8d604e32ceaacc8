"""Encodes clips for shards as FLAC, or as Ogg Opus, which is lossy and a fifth of the size.

Decoding recognises the codec by the first bytes, so that no other module need know it.
"""

import io
import zlib
from typing import Literal, get_args

import numpy as np
import soundfile

from model.audio import SAMPLE_RATE

Codec = Literal["flac", "opus"]
"""Codec of a clip, and the file extension of its name in a shard."""

_MAGIC: dict[bytes, Codec] = {b"fLaC": "flac", b"OggS": "opus"}
_MEDIA_TYPES: dict[Codec, str] = {"flac": "audio/flac", "opus": "audio/ogg"}
_SERIAL = slice(14, 18)
_CRC = slice(22, 26)
_PAGE_HEADER_BYTES = 27
"""Header of an Ogg page (RFC 3533, section 6); its last byte counts the segments that follow it."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class UnknownCodecError(ValueError):
    """The bytes of a clip are in none of the codecs that shards use."""


def encode_audio(waveform: np.ndarray, codec: Codec) -> bytes:
    """Encode a 16 kHz mono waveform as 16-bit FLAC or as Ogg Opus; same samples, same bytes.

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
    """Decode a clip that `encode_audio` wrote to float32 [num_samples].

    Raises:
        UnknownCodecError: the bytes are in neither codec.
        soundfile.LibsndfileError: the bytes are damaged.
    """
    codec_of(data)
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        sound.seek(0)  # without it libsndfile begins Ogg Opus hundreds of samples too early
        return np.asarray(sound.read(dtype="float32"))


def codec_of(data: bytes) -> Codec:
    """Recognise the codec of a clip by its first bytes.

    Raises:
        UnknownCodecError: the bytes are in neither codec.
    """
    codec = _MAGIC.get(data[:4])
    if codec is None:
        raise UnknownCodecError(
            f"a clip begins with {data[:4]!r}; shards hold {' or '.join(get_args(Codec))}, which "
            f"begin with {' or '.join(map(repr, _MAGIC))}. Pack the corpus anew with `q2a run`."
        )
    return codec


def media_type(data: bytes) -> str:
    """Media type of a clip's bytes, such as audio/flac."""
    return _MEDIA_TYPES[codec_of(data)]


def _with_fixed_serial(ogg: bytes) -> bytes:
    """Set the serial number of an Ogg stream, which libsndfile draws at random, to 0."""
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
    """CRC-32 of polynomial 0x04C11DB7, highest bit first, starting from 0. zlib's takes the lowest
    bit first, starts from ones and inverts the result.
    """
    mirrored = zlib.crc32(bytes(page).translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
