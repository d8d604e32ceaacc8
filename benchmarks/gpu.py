"""Whole steps of the published shape on one GPU: what was measured, and nothing else.

    python -m benchmarks.gpu                               8.4 B parameters, one GPU of 80 GB
    python -m benchmarks.gpu --shape tiny --device cpu     the same in seconds, anywhere

Weights are random, and features are made beforehand. It needs torch, transformers, pydantic and
numpy alone. Prints tables in Markdown, then the same as JSON.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence

import torch
import transformers

from benchmarks.gauge import Gauge
from benchmarks.gpu_model import SHAPES
from benchmarks.gpu_work import Row, Work
from model.costs.flops import measured_peak

Section = Callable[[Work], list[Row]]


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--shape", choices=SHAPES, default="published")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    chosen = parser.parse_args(arguments)
    shape, device = SHAPES[chosen.shape], torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no GPU. Run it where there is one, or with --shape tiny --device cpu.")
        return 2
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    work = Work(shape, Gauge(device, shape.rounds))
    found: dict[str, list[Row]] = {}
    for name in chosen.only:
        found[name] = SECTIONS[name](work)
        print(f"### {name}\n\n{table(found[name])}\n", flush=True)
    print(json.dumps({"shape": chosen.shape, "device": work.gauge.name} | found, indent=1))
    return 0


def machine(work: Work) -> list[Row]:
    """What the device states and what it reaches."""
    gauge = work.gauge
    matmul = measured_peak(gauge.device, torch.bfloat16)
    return [
        {
            "device": gauge.name,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "parameters, billion": work.num_parameters / 1e9,
            "nominal TFLOP/s": _per(1e12, gauge.nominal_flops),
            "matmul TFLOP/s": matmul / 1e12,
            "nominal GB/s": _per(1e9, gauge.nominal_bandwidth),
            "copy GB/s": gauge.bandwidth() / 1e9,
        }
    ]


def training(work: Work) -> list[Row]:
    """Packed steps with the optimizer inside the backward pass, layers checkpointed."""
    rows = [work.transcribing(tokens) for tokens in work.shape.token_budgets]
    largest = work.shape.token_budgets[-1]
    return [*rows, work.answering(largest), work.preferring(largest), work.optimizer()]


def reference(work: Work) -> list[Row]:
    """transformers' padded forward with full logits, under the same optimizer."""
    return [work.padded_transcribing(), work.padded_answering()]


def sampling(work: Work) -> list[Row]:
    """Steps of decoding, and what reading the weights, keys and values once takes at best."""
    rows = work.shape.sampled_rows
    return [
        work.decoding(rows, 1, temperature=0.0),
        work.decoding(rows, 1, temperature=1.0),
        work.decoding(rows // 4, 4, temperature=1.0),
    ]


SECTIONS: Mapping[str, Section] = {
    "machine": machine,
    "training": training,
    "reference": reference,
    "sampling": sampling,
}


def table(rows: Sequence[Row]) -> str:
    """Markdown; the columns are those of the first row."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _per(unit: float, value: float | None) -> float | None:
    return None if value is None else value / unit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
