"""A store on a disk that is full says so."""

import subprocess
import sys
from pathlib import Path

FILL_THE_DISK = """
import resource, sys
from infra.storage.store import Store
store = Store(sys.argv[1])
store.write_bytes("before", b"whole")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a full disk: writing fails
try:
    store.write_bytes("a", bytes(300_000))
except OSError as error:
    print(type(error).__name__, error.strerror)
"""


def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    output = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert output.startswith(f"DiskFullError there is no room to write {tmp_path}/a (")
    assert "Free space there, or move the store" in output
    assert [path.name for path in tmp_path.rglob("*")] == ["before"]
