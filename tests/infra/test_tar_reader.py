"""Tars that others made: read as `tarfile` does, refused where they attack."""

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.tar_reader import Member, Refused, TarError, scan_tar


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
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/\\:."),
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
    found = [m for m in scan_tar(stream) if isinstance(m, Member)]
    assert found == [m for m in expected if len(m.name.encode()) <= 1024]
    for member, (_, data) in zip(found, files, strict=True):
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
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


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
