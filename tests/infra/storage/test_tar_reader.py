"""Tars that others made: read as `tarfile` does, refused where they attack."""

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage.tar_reader import Member, Refused, TarError, scan_tar


def tar_of(
    members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT
) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as writer:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            writer.addfile(info, io.BytesIO(data))
    return buffer


def file(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"], exclude_characters="/\\:."),
    min_size=1, max_size=200,
)  # fmt: skip


FILES = st.lists(
    st.tuples(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000)),
    max_size=5, unique_by=lambda file: file[0],
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(files=FILES, form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_members_are_where_and_what_tarfile_says(files: list[tuple[str, bytes]], form: int) -> None:
    stream = tar_of([(file(name), data) for name, data in files], form)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as reader:
        expected = [Member(m.name, m.offset_data, m.size) for m in reader]
    members = [m for m in scan_tar(stream) if isinstance(m, Member)]
    assert members == [m for m in expected if len(m.name.encode()) <= 1024]
    for member, (_, data) in zip(members, files, strict=True):
        assert stream.getvalue()[member.offset : member.offset + member.size] == data


GOOD = (file("good.wav"), b"good")
BAD: dict[str, tuple[tarfile.TarInfo, str]] = {
    "leads out": (file("../../etc/cron.d/owned"), r"leads out"),
    "leads out inside": (file("a/../../b.wav"), r"leads out"),
    "absolute": (file("/etc/passwd"), r"absolute"),
    "backslashes": (file("..\\..\\owned"), r"leads out"),
    "drive": (file("C:\\owned"), r"absolute"),
    "symbolic link": (
        file("link.wav", type=tarfile.SYMTYPE, linkname="/etc/passwd"), r"a symbolic link"
    ),
    "hard link": (file("link.wav", type=tarfile.LNKTYPE, linkname="good.wav"), r"a hard link"),
    "character device": (file("zero.wav", type=tarfile.CHRTYPE), r"a character device"),
    "block device": (file("disk.wav", type=tarfile.BLKTYPE), r"a block device"),
    "pipe": (file("pipe.wav", type=tarfile.FIFOTYPE), r"a pipe"),
    "long name": (file("x" * 10_240), r"over 1024 bytes"),
    "very long name": (file("y" * 1_000_000), r"over 1024 bytes"),
    "twice": (file("good.wav"), r"same name"),
    "control characters": (file("two\nlines.wav"), r"control characters"),
}  # fmt: skip


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("attack", BAD)
def test_an_attacking_member_is_refused_by_rule_and_its_neighbours_are_read(
    attack: str, form: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, rule = BAD[attack]
    path = tmp_path / "archive" / "attack.tar"
    path.parent.mkdir()
    path.write_bytes(tar_of([GOOD, (info, b"evil"), (file("after.wav"), b"!")], form).getvalue())
    monkeypatch.chdir(path.parent)
    with path.open("rb") as stream:
        first, refused, last = scan_tar(stream)
    assert isinstance(refused, Refused)
    assert rule in refused.rule
    for member, data in ((first, b"good"), (last, b"!")):
        assert isinstance(member, Member)
        assert path.read_bytes()[member.offset : member.offset + member.size] == data
    assert [file_path for file_path in tmp_path.rglob("*") if file_path.is_file()] == [path]


def test_a_claimed_size_is_compared_with_the_tar_before_it_is_believed() -> None:
    for claimed, kind in ((8_000_000_000, b"0"), (8_000_000_000, b"L"), (8_000_000_000, b"x")):
        header = file("a.wav", size=claimed, type=kind).tobuf(tarfile.GNU_FORMAT)
        tracemalloc.start()
        with pytest.raises(TarError, match=r"claims 8000000000 bytes.*Copy it again"):
            list(scan_tar(io.BytesIO(header + bytes(10_240))))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 1536, 2048])
def test_a_tar_that_was_cut_is_never_a_shorter_one(kept: int) -> None:
    whole = tar_of([(file("a"), bytes(300)), (file("b"), bytes(300))]).getvalue()
    with pytest.raises(TarError, match="was cut"):
        list(scan_tar(io.BytesIO(whole[:kept])))


def test_a_flipped_byte_in_a_header_is_noticed() -> None:
    whole = bytearray(tar_of([(file("a"), bytes(300)), (file("b"), bytes(300))]).getvalue())
    whole[1024 + 3] ^= 1
    members = scan_tar(io.BytesIO(bytes(whole)))
    assert isinstance(next(members), Member)
    with pytest.raises(TarError, match=r"no tar header at byte 1024.*checksum"):
        next(members)


def test_a_compressed_tar_is_refused_with_what_to_do() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as writer:
        writer.addfile(file("a.wav", size=2000), io.BytesIO(np.random.default_rng(1).bytes(2000)))
    with pytest.raises(TarError, match=r"no tar header at byte 0.*unpack a .tar.gz with gzip -d"):
        list(scan_tar(buffer))


FIELDS = {
    "name": (0, 100), "mode": (100, 108), "size": (124, 136), "time": (136, 148),
    "kind": (156, 157), "link": (157, 257), "magic": (257, 265), "prefix": (345, 500),
}  # fmt: skip


def header_of(changes: dict[str, bytes], checksum: bytes | None = None) -> bytes:
    """A header with the bytes of some fields replaced, whose checksum is right where none is
    given.
    """
    header = bytearray(file("a.flac").tobuf(tarfile.USTAR_FORMAT))
    for field, value in changes.items():
        begin, end = FIELDS[field]
        header[begin:end] = value[: end - begin].ljust(end - begin, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = checksum or b"%06o\0 " % sum(header)
    return bytes(header)


def pax(records: bytes) -> bytes:
    """A pax header, in front of the member that it describes."""
    return (
        header_of({"kind": b"x", "size": b"%011o" % len(records)})
        + records
        + bytes(-len(records) % 512)
        + header_of({})
    )


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (header_of({"size": b"-1000"}), r"no tar header at byte 0.*b'-1000' is no octal number"),
        (header_of({"size": b"-1000", "kind": b"5"}), r"b'-1000' is no octal number"),
        (header_of({"size": b"1_0"}), r"b'1_0' is no octal number"),
        (header_of({"size": b"+10"}), r"b'\+10' is no octal number"),
        (header_of({"size": b"\xff" * 12}), r"is no octal number"),
        (header_of({"size": b"\x81" + bytes(10) + b"\x08"}), r"is no octal number"),
        (header_of({"size": b"\x80" + b"\xff" * 11}), r"claims \d{27} bytes, but the tar ends"),
        (header_of({}, checksum=b"-0011467"), r"b'-0011467' is no octal number"),
        (pax(b"1" * 5_000 + b" path=x\n"), r"a pax header is damaged"),
        (pax(b"5017 size=" + b"9" * 5_006 + b"\n"), r"claims the size '9{40,49}: no number"),
        (pax("11 size=²\n".encode()), r"claims the size '²': no number"),
        (pax(b"11 size=-1\n"), r"claims the size '-1': no number"),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_a_clear_error(attack: bytes, message: str) -> None:
    with pytest.raises(TarError, match=message):
        list(scan_tar(CountedStream(attack + bytes(1024))))


def test_a_pax_header_is_about_the_next_member_alone() -> None:
    """POSIX.1-2017, pax: an extended header of type x affects the next file."""
    records = b"12 size=600\n" + b"15 path=long.a\n"
    described = pax(records) + bytes(1024)
    plain = header_of({"name": b"b.flac", "size": b"%011o" % 3}) + b"abc" + bytes(509)
    assert [*scan_tar(io.BytesIO(described + plain + bytes(1024)))] == [
        Member("long.a", 1536, 600),
        Member("b.flac", 1536 + 1024 + 512, 3),
    ]


def test_spaces_of_other_scripts_in_a_name_are_no_control_characters() -> None:
    (member,) = scan_tar(tar_of([(file("日本\u3000語.flac"), b"x")]))
    assert isinstance(member, Member)


class CountedStream(io.BytesIO):
    """A tar that fails the test where more is read of it than it has."""

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads = getattr(self, "reads", 0) + 1
        assert self.reads <= 2 * (len(self.getvalue()) // 512 + 1), "it reads on for ever"
        return super().read(size)


NUMBERS = st.one_of(
    st.integers(-(2**40), 2**80).map(lambda number: b"%o" % number),
    st.integers(0, 4_000).map(lambda number: b"%011o" % number),
    st.integers(0, 2**88 - 1).map(lambda number: b"\x80" + number.to_bytes(11, "big")),
    st.sampled_from([b"\xff" * 12, b"1_0", b"+7", b"0x1", b"0o7", " ٣".encode(), b"9"]),
    st.binary(max_size=12),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.binary(max_size=100),
        "size": NUMBERS,
        "kind": st.sampled_from([bytes([kind]) for kind in b"\x00012345679LKxgSX"]),
        "magic": st.sampled_from([b"ustar\00000", b"ustar  \0", b""]),
        "prefix": st.binary(max_size=155),
    },
).map(header_of)
RECORDS = st.builds(
    lambda length, key, value: b"%d %s=%s\n" % (length, key, value),
    st.integers(-1, 99_999),
    st.sampled_from([b"size", b"path", b"mtime"]),
    st.one_of(NUMBERS, st.integers(0, 9_999).map(lambda number: b"%d" % number), st.binary()),
)


@settings(max_examples=500, deadline=None)
@given(
    parts=st.lists(
        st.one_of(HEADERS, RECORDS.map(pax), st.binary(max_size=1_500), st.just(bytes(512))),
        max_size=8,
    )
)
def test_whatever_its_fields_hold_a_scan_ends_with_members_inside_the_tar_or_a_clear_error(
    parts: list[bytes],
) -> None:
    tar = b"".join(part + bytes(-len(part) % 512) for part in parts) + bytes(1024)
    names = set()
    try:
        for member in scan_tar(CountedStream(tar)):
            if isinstance(member, Member):
                assert 512 <= member.offset <= member.offset + member.size <= len(tar)
                assert member.name not in names
                names.add(member.name)
    except TarError:
        pass
