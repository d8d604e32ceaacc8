"""`make bench`: the table of contents, and the judgement.

    python -m benchmarks             everything, about twenty-five minutes on an idle machine
    python -m benchmarks mel seek    only these

Each benchmark has a process of its own, so that none finds the memory as another left it. Exits 1
when a goal or a bound is missed, 2 for an unknown name.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import (
    contracts,
    encoder,
    features,
    generation,
    ingestion,
    language_model,
    loading,
    memory,
    report,
    streaming,
    training,
)
from benchmarks.harness import Row
from benchmarks.isolation import (
    Benchmark,
    in_own_process,
    under_both_allocators,
    with_memory_returned,
)

BENCHMARKS: Mapping[str, Benchmark] = {
    "mel": features.log_mel,
    "encoder": encoder.encoder,
    "head": language_model.loss_head,
    "head-memory": language_model.loss_head_memory,
    "packing": language_model.packing,
    "sft": training.sft_step,
    "sft-memory": training.sft_memory,
    "dpo": training.dpo_step,
    "prefill": generation.prefill,
    "sampling": generation.sampling,
    "loading": loading.shard_to_mel,
    "seek": loading.seek,
    "write": streaming.write,
    "stream": streaming.stream,
    "ingest": ingestion.ingest,
    "contracts": contracts.contracts,
    "contracts-memory": contracts.contracts_memory,
    "memory": memory.memory,
}
ON_REQUEST: Mapping[str, Benchmark] = {"ingest-million": ingestion.ingest_million}
"""What takes too long to be one of all."""
PROCESSES: Mapping[str, Callable[[Benchmark], Sequence[Row]]] = {
    **dict.fromkeys(("mel", "loading"), under_both_allocators),
    **dict.fromkeys(
        ("head-memory", "sft-memory", "ingest", "ingest-million", "contracts-memory", "memory"),
        with_memory_returned,
    ),
}
"""In what process, where it is not one that keeps the memory that it frees."""
RESULTS = Path(__file__).parent / "results.json"


def main(
    names: Sequence[str],
    benchmarks: Mapping[str, Benchmark] = BENCHMARKS,
    results: Path = RESULTS,
    measure: Callable[[Benchmark], Sequence[Row]] | None = None,
) -> int:
    """Run the named benchmarks, or all of them; only then the results are written."""
    known = {**benchmarks, **ON_REQUEST}
    if unknown := [name for name in names if name not in known]:
        print(f"unknown: {', '.join(unknown)}. Choose among {', '.join(known)}.")
        return 2
    print(report.header(), flush=True)
    rows: list[Row] = []
    for name in names or benchmarks:
        found = (measure or PROCESSES.get(name, in_own_process))(known[name])
        print("\n".join(map(report.table_row, found)), flush=True)
        rows += found
    if not names:
        results.write_text(json.dumps(report.results(rows), indent=1) + "\n")
    missed = [sentence for row in rows for sentence in row.missed]
    print("\n" + ("\n".join(missed) or "Every goal is met and every bound kept."))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
