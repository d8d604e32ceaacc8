"""Reads tars of recordings and their texts in place, each in one pass over one open file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from data_contracts.records import Rejected
from infra.storage.tar_reader import Refused, TarError, scan_tar
from tasks.sources.corpus_files import CorpusError, CorpusFiles
from tasks.sources.tables import MAX_TEXT_BYTES


class TarMember(NamedTuple):
    """Byte range of a member in an uncompressed tar."""

    name: str
    begin_byte: int
    num_bytes: int


class CorpusTar:
    """An open, uncompressed tar."""

    def __init__(self, stream: BinaryIO, path: str) -> None:
        self._stream, self._path = stream, path

    def members(self) -> Iterator[TarMember | Rejected]:
        """Iterate over the plain files in order; reject links, devices and names that lead out.

        Raises:
            CorpusError: the file is compressed, cut off or no tar.
        """
        try:
            for member in scan_tar(self._stream):
                if isinstance(member, Refused):
                    detail = f"in {self._path}: {member.rule}"
                    yield Rejected(id=member.name, reason="refused_member", detail=detail)
                else:
                    yield TarMember(member.name, member.offset, member.size)
        except TarError as error:
            raise CorpusError(f"{self._path} is no plain tar: {error}") from error

    def text(self, member: TarMember) -> str:
        """Read a small text, also while iterating over the members.

        Raises:
            ValueError: it is too long or not UTF-8.
        """
        if member.num_bytes > MAX_TEXT_BYTES:
            raise ValueError(f"its text {member.name!r} has over {MAX_TEXT_BYTES} bytes")
        self._stream.seek(member.begin_byte)
        try:
            return self._stream.read(member.num_bytes).decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"its text {member.name!r} is not UTF-8: {error}") from error


@contextmanager
def open_tar(files: CorpusFiles, key: str) -> Iterator[CorpusTar]:
    """Open a tar of a corpus.

    Raises:
        CorpusError: there is no such file.
    """
    with files.open(key) as stream:
        yield CorpusTar(stream, files.location(key))
