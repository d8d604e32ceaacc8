"""Reads the bytes of recordings; successive rows may take parts of one file."""

import base64
import binascii
import errno

from data_contracts.digest import digest_of_bytes
from data_contracts.records import Clip
from infra.storage.source_files import FileTooLargeError, read_url
from tasks.recordings.decode import DecodeError
from tasks.recordings.locations import RefusedLocationError, check_location
from tasks.recordings.parquet_cells import ParquetCells

MAX_FILE_BYTES = 1 << 30
"""A recording is decoded in memory: an hour of 24-bit stereo at 48 kHz fits."""
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_MISSING_ERRNO = (errno.ENAMETOOLONG, errno.ELOOP)


class LastRead:
    """Reads the files of clips and holds the last: a talk of an hour has hundreds of segments."""

    def __init__(self) -> None:
        self._location: tuple[object, ...] | None = None
        self._result = (b"", "")
        self._cells = ParquetCells()

    def __call__(self, clip: Clip) -> tuple[bytes, str]:
        """Return the bytes that a clip is made of, and their sha256.

        Raises:
            DecodeError: like `read_audio`.
        """
        location = (clip.audio, clip.begin_byte, clip.num_bytes, clip.cell)
        if location != self._location:
            if clip.cell is not None:
                data = self._cells.read(clip.audio, *clip.cell)
            else:
                data = read_audio(clip.audio, clip.begin_byte, clip.num_bytes)
            if clip.encoding is not None:
                data = _from_base64(data, clip.audio)
            self._location, self._result = location, (data, digest_of_bytes(data))
        return self._result


def read_audio(url: str, begin_byte: int = 0, num_bytes: int | None = None) -> bytes:
    """Read the bytes of a recording at a path or fsspec URL, or inside the file there.

    Raises:
        DecodeError: `refused_url` for a protocol that is not a file store, `missing_file`,
            `too_large`.
        OSError: the store itself fails; the run can continue later.
    """
    try:
        check_location(url)
    except RefusedLocationError as error:
        raise DecodeError("refused_url", str(error)) from error
    try:
        return read_url(url, MAX_FILE_BYTES, begin_byte, num_bytes)
    except FileTooLargeError as error:
        raise DecodeError("too_large", f"{url} {error.strerror}. Split the recording") from error
    except OSError as error:
        if isinstance(error, _MISSING) or error.errno in _MISSING_ERRNO:
            raise DecodeError("missing_file", f"{url} can't be read: {error}") from error
        raise  # a network or disk that fails says nothing about the recording


def _from_base64(data: bytes, url: str) -> bytes:
    """Decode bytes that a JSON text spells, where `/` may be escaped.

    Raises:
        DecodeError: `not_audio`: they are no base64.
    """
    try:
        return base64.b64decode(data.replace(b"\\", b""), validate=True)
    except binascii.Error as error:
        raise DecodeError("not_audio", f"a recording in {url} is no base64: {error}") from error
