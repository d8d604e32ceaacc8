"""Whether a recording lost its end, as its bytes tell: decoders take the rest for a shorter one."""

from typing import Literal

_UNKNOWN_SIZE = 0x7FFF_0000
"""Programs that write a wav into a pipe can't know its size, and write one about this or larger."""
_PAGE_HEADER_BYTES = 27
_LAST_PAGE = 4
"""Flag of the page that ends an Ogg stream (RFC 3533, section 6)."""
_FIRST_FRAME_BYTES = 200
"""The count of an mp3 stands within so many bytes of its first frame."""


def lost_end(data: bytes) -> str | None:
    """What is missing at the end of a wav, aiff or Ogg file; None where nothing is seen to be."""
    if data[:4] in (b"RIFF", b"FORM"):
        order: Literal["little", "big"] = "little" if data[:4] == b"RIFF" else "big"
        claimed = 8 + int.from_bytes(data[4:8], order)
        if len(data) < claimed < _UNKNOWN_SIZE:
            return f"it has {len(data)} of {claimed} bytes"
    if data[:4] == b"OggS":
        page = data.rfind(b"OggS")
        sizes = page + _PAGE_HEADER_BYTES
        header = data[page:sizes]
        if len(header) < _PAGE_HEADER_BYTES or len(data) < (ends := _end_of_page(data, sizes)):
            return f"its last page, at byte {page}, is cut"
        if not header[5] & _LAST_PAGE:
            return f"no page that ends the stream comes before byte {ends}"
    return None


def counts_its_samples(data: bytes, file_format: str) -> bool:
    """Whether the header of a file says how many samples it has; others make libsndfile estimate.

    An mp3 says so in a frame before the first, which most encoders write.
    """
    if file_format != "MP3":
        return file_format in ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64")
    frame = _behind_id3(data)
    first = data[frame : frame + _FIRST_FRAME_BYTES]
    return any(
        place >= 0 and first[place + 7 : place + 8] != b"" and first[place + 7] & 1
        for place in (first.find(b"Xing"), first.find(b"Info"))
    )


def _end_of_page(data: bytes, sizes: int) -> int:
    """Of the Ogg page whose table of segments begins at byte `sizes`."""
    count = data[sizes - 1]
    return sizes + count + sum(data[sizes : sizes + count])


def _behind_id3(data: bytes) -> int:
    """Where the first frame of an mp3 begins; the tag's size has seven bits a byte."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    high, *rest = data[6:10]
    size = high
    for byte in rest:
        size = size << 7 | byte
    return 10 + size
