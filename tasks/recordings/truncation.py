"""Where a recording ends, as its bytes tell: decoders take what lost its end for a shorter one."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

_UNKNOWN_SIZE = 1 << 30
"""Programs that write a wav into a pipe can't know its size, and write a large one: no recording
that is read here is as large.
"""
_PAGE_HEADER_BYTES = 27
_FIRST_PAGE = 2
"""Flag of the page that begins an Ogg stream (RFC 3533, section 6)."""
_FIRST_FRAME_BYTES = 200
"""The count of an mp3 stands within so many bytes of its first frame."""


def lost_end(data: bytes) -> str | None:
    """What is missing at the end of a wav, aiff or Ogg file; None where nothing is seen to be."""
    if data[:4] in (b"RIFF", b"FORM") and len(data) < (end := _end_of_samples(data)):
        return f"it has {len(data)} of {end} bytes"
    if data[:4] == b"OggS":
        *_, (page, end, _) = _pages(data)
        if len(data) < end:
            return f"its page at byte {page} is cut"
    return None


def knows_its_length(data: bytes, file_format: str) -> bool:
    """Whether libsndfile knows where a file ends: of others it hears a part, or fails to seek.

    An mp3 counts its samples in a frame before the first, which most encoders write. A FLAC that
    was written into a pipe does not, and an Ogg file may be several behind one another.
    """
    if file_format == "MP3":
        frame = _behind_id3(data)
        first = data[frame : frame + _FIRST_FRAME_BYTES]
        tags = (place for name in (b"Xing", b"Info") if (place := first.find(name)) >= 0)
        return any(first[place + 7 : place + 8] and first[place + 7] & 1 for place in tags)
    if file_format == "FLAC" and data[:4] == b"fLaC":
        return int.from_bytes(data[18:26], "big") & ((1 << 36) - 1) != 0
    if file_format == "OGG":
        begins = [bool(flags & _FIRST_PAGE) for _, _, flags in _pages(data)]
        return not any(after and not before for before, after in pairwise(begins))
    return True


def _end_of_samples(data: bytes) -> int:
    """Before which byte the samples of a wav or aiff end, as it says; 0 where it does not know."""
    order: Literal["little", "big"] = "little" if data[:4] == b"RIFF" else "big"
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], order)
        if data[place : place + 4] in (b"data", b"SSND"):
            return place + 8 + size if size < _UNKNOWN_SIZE else 0
        place += 8 + size + size % 2
    return place if place < _UNKNOWN_SIZE else 0


def _pages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Where each page of an Ogg file begins and should end, and its flags."""
    place = 0
    while data[place : place + 4] == b"OggS":
        sizes = place + _PAGE_HEADER_BYTES
        count = data[sizes - 1] if sizes <= len(data) else 0
        end = sizes + count + sum(data[sizes : sizes + count])
        yield place, end, data[place + 5] if place + 5 < len(data) else 0
        place = end


def _behind_id3(data: bytes) -> int:
    """Where the first frame of an mp3 begins; the tag's size has seven bits a byte."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    high, *rest = data[6:10]
    size = high
    for byte in rest:
        size = size << 7 | byte
    return 10 + size
