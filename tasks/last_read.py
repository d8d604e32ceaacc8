"""Bytes of recordings, of which many rows may take their parts one after the other."""

from data_contracts.digest import digest_of_bytes
from data_contracts.records import Clip
from tasks.decode import read_audio


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
