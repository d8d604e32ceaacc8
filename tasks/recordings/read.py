"""Reads the bytes of recordings; many rows may take parts of one, one after the other."""

import errno

from data_contracts.digest import digest_of_bytes
from data_contracts.records import Clip
from infra.storage.source_files import FileTooLargeError, read_url
from tasks.recordings.decode import DecodeError
from tasks.recordings.locations import RefusedLocationError, check_location


class LastRead:
    """Reads the files of clips and holds the last: a talk of an hour has hundreds of segments."""

    def __init__(self) -> None:
        self._place: tuple[str, int, int | None] | None = None
        self._found = (b"", "")

    def __call__(self, clip: Clip) -> tuple[bytes, str]:
        """The bytes that a clip is made of, and their sha256.

        Raises:
            DecodeError: as of `read_audio`.
        """
        place = (clip.audio, clip.begin_byte, clip.num_bytes)
        if place != self._place:
            data = read_audio(*place)
            self._place, self._found = place, (data, digest_of_bytes(data))
        return self._found


MAX_FILE_BYTES = 1 << 30
"""A recording is decoded in memory: an hour of 24-bit stereo at 48 kHz fits."""


_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


_MISSING_ERRNO = (errno.ENAMETOOLONG, errno.ELOOP)


def read_audio(url: str, begin_byte: int = 0, num_bytes: int | None = None) -> bytes:
    """Bytes of a recording on a path or fsspec URL, or that lies in the file there.

    Raises:
        DecodeError: `refused_url` for a protocol that is not a file store, `missing_file`,
            `too_large`.
        OSError: the store itself does not answer; the run can continue later.
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
