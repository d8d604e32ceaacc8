"""Archives that others made: read as `tarfile` and `zipfile` do, refused where they attack."""

import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.archives import (
    ArchiveError,
    Member,
    Refused,
    RefusedMemberError,
    read_member,
    scan_tar,
)


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
    assert [first, last] == [m for m in (first, last) if isinstance(m, Member)]
    assert read_member("tar", "good.wav", str(path), 100) == b"good"
    assert read_member("tar", "after.wav", str(path), 100) == b"!"
    if attack != "twice":
        with pytest.raises((RefusedMemberError, FileNotFoundError)):
            read_member("tar", info.name, str(path), 100)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_a_claimed_size_is_compared_with_the_tar_before_it_is_believed(tmp_path: Path) -> None:
    for claimed, kind in ((8_000_000_000, b"0"), (8_000_000_000, b"L"), (8_000_000_000, b"x")):
        header = file("a.wav", size=claimed, type=kind).tobuf(tarfile.GNU_FORMAT)
        tracemalloc.start()
        with pytest.raises(ArchiveError, match=r"claims 8000000000 bytes.*Copy it again"):
            list(scan_tar(io.BytesIO(header + bytes(10_240))))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 1536, 2048])
def test_a_tar_that_was_cut_is_never_a_shorter_one(kept: int) -> None:
    whole = tar_of([(file("a"), bytes(300)), (file("b"), bytes(300))]).getvalue()
    with pytest.raises(ArchiveError, match="was cut"):
        list(scan_tar(io.BytesIO(whole[:kept])))


def test_a_flipped_byte_in_a_header_is_noticed() -> None:
    whole = bytearray(tar_of([(file("a"), bytes(300)), (file("b"), bytes(300))]).getvalue())
    whole[1024 + 3] ^= 1
    members = scan_tar(io.BytesIO(bytes(whole)))
    assert isinstance(next(members), Member)
    with pytest.raises(ArchiveError, match=r"no tar header at byte 1024.*checksum"):
        next(members)


def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as writer:
        writer.addfile(*[file("a.wav", size=3), io.BytesIO(b"abc")])  # type: ignore[arg-type]
    with pytest.raises(ArchiveError, match=r"a.tar.gz: .*unpack a .tar.gz to a .tar|was cut"):
        read_member("tar", "a.wav", str(path), 100)


def zip_of(path: Path, fill: Callable[[zipfile.ZipFile], object]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("good.wav", b"good")
        fill(writer)
    return str(path)


def test_a_member_of_a_zip_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    bomb = zip_of(tmp_path / "bomb.zip", lambda z: z.writestr("bomb.wav", bytes(200_000_000)))
    assert Path(bomb).stat().st_size < 300_000
    assert read_member("zip", "good.wav", bomb, 100) == b"good"
    tracemalloc.start()
    with pytest.raises(
        RefusedMemberError, match=r"bomb.wav.* has 200000000 bytes, at most 1000000"
    ):
        read_member("zip", "bomb.wav", bomb, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_bomb_that_lies_about_its_size_is_unpacked_no_further_than_it_claims(
    tmp_path: Path,
) -> None:
    path = tmp_path / "liar.zip"
    zip_of(path, lambda z: z.writestr("bomb.wav", bytes(50_000_000)))
    claimed = (50_000_000).to_bytes(4, "little")
    assert path.read_bytes().count(claimed) == 2
    path.write_bytes(path.read_bytes().replace(claimed, (1000).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match=r"bomb\.wav"):
        read_member("zip", "bomb.wav", str(path), 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_links_and_names_of_a_zip_are_held_to_the_same_rules(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = 0o120777 << 16
    place = zip_of(
        tmp_path / "a.zip",
        lambda z: (z.writestr(link, "/etc/passwd"), z.writestr("../out.wav", b"x")),
    )
    for name, rule in (("link.wav", "symbolic link"), ("../out.wav", "leads out")):
        with pytest.raises(RefusedMemberError, match=rule):
            read_member("zip", name, place, 100)


def test_what_is_missing_is_a_missing_file(tmp_path: Path) -> None:
    place = zip_of(tmp_path / "a.zip", lambda z: z.comment)
    with pytest.raises(FileNotFoundError, match=r"a.zip has no member 'none.wav'"):
        read_member("zip", "none.wav", place, 100)
    with pytest.raises(FileNotFoundError):
        read_member("tar", "a.wav", str(tmp_path / "none.tar"), 100)
    (tmp_path / "no.zip").write_bytes(b"text")
    with pytest.raises(ArchiveError, match="no readable zip"):
        read_member("zip", "a.wav", str(tmp_path / "no.zip"), 100)
