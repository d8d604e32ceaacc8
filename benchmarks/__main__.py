"""`make bench`: the table of contents, and the judgement.

    python -m benchmarks             everything, about ten minutes on an idle core
    python -m benchmarks mel seek    only these

Exits 1 when a goal or a bound is missed, 2 for an unknown name.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from transformers.utils import logging

from benchmarks import encoder, features, generation, language_model, loading, report, training
from benchmarks.harness import Row

BENCHMARKS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "mel": features.log_mel,
    "encoder": encoder.encoder,
    "head": language_model.loss_head,
    "packing": language_model.packing,
    "sft": training.sft_step,
    "dpo": training.dpo_step,
    "prefill": generation.prefill,
    "sampling": generation.sampling,
    "loading": loading.shard_to_mel,
    "seek": loading.seek,
}
RESULTS = Path(__file__).parent / "results.json"


def main(
    names: Sequence[str],
    benchmarks: Mapping[str, Callable[[], Iterator[Row]]] = BENCHMARKS,
    results: Path = RESULTS,
) -> int:
    """Run the named benchmarks, or all of them; only then the results are written."""
    if unknown := [name for name in names if name not in benchmarks]:
        print(f"unknown: {', '.join(unknown)}. Choose among {', '.join(benchmarks)}.")
        return 2
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    print(report.header())
    rows = []
    for name in names or benchmarks:
        for row in benchmarks[name]():
            print(report.table_row(row), flush=True)
            rows.append(row)
    if not names:
        results.write_text(json.dumps(report.results(rows), indent=1) + "\n")
    missed = [sentence for row in rows for sentence in row.missed]
    print("\n" + ("\n".join(missed) or "Every goal is met and every bound kept."))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
