"""Small artifacts of a ledger, and records that somebody rewrote."""

import json
from collections.abc import Callable
from typing import Any

from data_contracts.sealed_json import seal, unseal
from data_contracts.stage_record import StageRecord
from infra.ledger import Ledger


def make_record(ledger: Ledger, fingerprint: str, finished_at: str = "2026-01-01") -> StageRecord:
    return StageRecord(
        stage="sft",
        version=1,
        fingerprint=fingerprint,
        recipe={"steps": 3},
        inputs={"corpus": "c"},
        library_versions={},
        files=ledger.list_files("sft", fingerprint),
        counts={"records_in": 1, "records_out": 1, "rejected": 0},
        seconds=0.1,
        tracking_run="run",
        finished_at=finished_at,
    )


def finish(ledger: Ledger, fingerprint: str, finished_at: str = "2026-01-01") -> StageRecord:
    directory = ledger.directory("sft", fingerprint)
    directory.write_bytes("model/weights", b"0123456789")
    directory.write_bytes("notes", b"n")
    directory.write_bytes("scratch/half", b"h")
    record = make_record(ledger, fingerprint, finished_at)
    ledger.complete(record)
    return record


def rewrite(ledger: Ledger, fingerprint: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a finished record as somebody with access to the store could, its digest too."""
    directory = ledger.directory("sft", fingerprint)
    record = unseal(json.loads(directory.read_text("record.json")))
    change(record)
    directory.write_text("record.json", json.dumps(seal(record)))


def flipped(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)
