"""`make bench`, or `python -m benchmarks NAME ...`: the goals table, measured.

Exit codes: 0 every goal and bound is met, 1 one is missed, 2 there is no such benchmark.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.encoder import encoder
from benchmarks.features import log_mel
from benchmarks.generation import decoding, prefill
from benchmarks.harness import Row
from benchmarks.language_model import loss_head, packing
from benchmarks.loading import seek, shards_to_mel
from benchmarks.training import dpo_step, sft_step

BENCHMARKS: dict[str, Callable[[], Iterator[Row]]] = {
    "log_mel": log_mel,
    "encoder": encoder,
    "loss_head": loss_head,
    "packing": packing,
    "sft_step": sft_step,
    "dpo_step": dpo_step,
    "prefill": prefill,
    "decoding": decoding,
    "shards_to_mel": shards_to_mel,
    "seek": seek,
}
RESULTS = Path("benchmarks/results.json")
_HEADER = (
    "| item | work | ratio | goal | stretch | exactness and bounds |\n|---|---|---|---|---|---|"
)


def main(names: Sequence[str]) -> int:
    """Measure the named benchmarks, all where none is named; returns the exit code."""
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        print(f"there is no benchmark {unknown}; there are {', '.join(BENCHMARKS)}")
        return 2
    torch.set_num_threads(1)
    machine = describe_machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    print(_HEADER, flush=True)
    rows = []
    for name in names or BENCHMARKS:
        for row in BENCHMARKS[name]():
            rows.append(row)
            print(as_markdown(row), flush=True)
    missed = [sentence for row in rows for sentence in row.missed]
    if not names:
        found = {"machine": machine, "rows": [asdict(row) for row in rows], "missed": missed}
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print("\n".join(missed) or "every goal and bound is met")
    return 1 if missed else 0


def as_markdown(row: Row) -> str:
    """A line of the README's table."""
    goal, stretch = (f"{x:.2f}" if x is not None else "" for x in (row.goal, row.stretch))
    bounds = ", ".join(map(str, row.conditions))
    return f"| {row.name} | {row.work} | {row.race.ratio:.2f} | {goal} | {stretch} | {bounds} |"


def describe_machine() -> dict[str, str]:
    """What a result depends on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in cpuinfo if line.startswith("model name")]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": models[0] if models else "unknown",
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
