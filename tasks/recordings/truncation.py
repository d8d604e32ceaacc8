"""Detects recordings that lost their end, which decoders would take for shorter ones."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

_UNKNOWN_SIZE = 1 << 30
"""Size from which a header is not believed: programs that write a wav into a pipe can't know its
size and write a large one, and no recording that is read here is as large.
"""
_PAGE_HEADER_BYTES = 27
_FIRST_PAGE = 2
"""Flag of the page that begins an Ogg stream (RFC 3533, section 6)."""
_FIRST_FRAME_BYTES = 200
"""Bytes of an mp3's first frame within which its count of samples stands."""


def lost_end(data: bytes) -> str | None:
    """Describe what is missing at the end of a wav, aiff or Ogg file; None if nothing is."""
    if data[:4] in (b"RIFF", b"FORM") and len(data) < (end := _end_of_samples(data)):
        return f"it has {len(data)} of {end} bytes"
    if data[:4] == b"OggS":
        *_, (page, end, _) = _pages(data)
        if len(data) < end:
            return f"its page at byte {page} is cut"
    return None


def knows_its_length(data: bytes, file_format: str) -> bool:
    """Whether libsndfile knows where a file ends; of others it reads a part, or fails to seek.

    An mp3 counts its samples in a frame before the first, which most encoders write. A FLAC that
    was written into a pipe has no count, and an Ogg file may consist of several streams in a row.
    """
    if file_format == "MP3":
        start = _first_frame(data)
        frame = data[start : start + _FIRST_FRAME_BYTES]
        tags = (tag for name in (b"Xing", b"Info") if (tag := frame.find(name)) >= 0)
        return any(frame[tag + 7 : tag + 8] and frame[tag + 7] & 1 for tag in tags)
    if file_format == "FLAC" and data[:4] == b"fLaC":
        return int.from_bytes(data[18:26], "big") & ((1 << 36) - 1) != 0
    if file_format == "OGG":
        begins = [bool(flags & _FIRST_PAGE) for _, _, flags in _pages(data)]
        return not any(after and not before for before, after in pairwise(begins))
    return True


def _end_of_samples(data: bytes) -> int:
    """Offset at which the samples of a wav or aiff end by its header; 0 where that is unknown."""
    order: Literal["little", "big"] = "little" if data[:4] == b"RIFF" else "big"
    offset = 12
    while offset + 8 <= len(data):
        size = int.from_bytes(data[offset + 4 : offset + 8], order)
        if data[offset : offset + 4] in (b"data", b"SSND"):
            return offset + 8 + size if size < _UNKNOWN_SIZE else 0
        offset += 8 + size + size % 2
    return offset if offset < _UNKNOWN_SIZE else 0


def _pages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Offset at which each page of an Ogg file begins, where it should end, and its flags."""
    begin = 0
    while data[begin : begin + 4] == b"OggS":
        sizes = begin + _PAGE_HEADER_BYTES
        count = data[sizes - 1] if sizes <= len(data) else 0
        end = sizes + count + sum(data[sizes : sizes + count])
        yield begin, end, data[begin + 5] if begin + 5 < len(data) else 0
        begin = end


def _first_frame(data: bytes) -> int:
    """Offset of the first frame of an mp3, after its ID3 tag, whose size has seven bits a byte."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    high, *rest = data[6:10]
    size = high
    for byte in rest:
        size = size << 7 | byte
    return 10 + size
