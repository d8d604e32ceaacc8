"""A process of its own for each benchmark, with an allocator that both sides meet alike."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import torch
from transformers.utils import logging

from benchmarks.harness import NUM_THREADS, Row

Benchmark = Callable[[], Iterator[Row]]

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}
"""glibc's settings by which a process keeps the memory that it frees. By default it may return
large buffers at once and take them again with page faults, which then are more than half of the
time of transformers' log-mel; whether it does depends on what ran before.
"""

RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc's settings by which a freed tensor's memory is returned at once: what is resident is what
is alive.
"""


def in_own_process(benchmark: Benchmark, allocator: Mapping[str, str] = KEEP_MEMORY) -> list[Row]:
    """The rows of a benchmark, from a new process that keeps its memory, or does as told."""
    before = dict(os.environ)
    os.environ.update(allocator)  # read when a process starts
    try:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            return process.submit(_rows, benchmark).result()
    finally:
        for name in allocator.keys() - before.keys():
            del os.environ[name]


def under_both_allocators(benchmark: Benchmark) -> list[Row]:
    """Where page faults decide: the goal is compared with the process as it comes, which is what
    users run and what the figures beside the goals agree with; the rows with memory kept show how
    much is the method's own.
    """
    kept = [
        replace(row, name=f"{row.name}, memory kept", goal=None, stretch=None)
        for row in in_own_process(benchmark)
    ]
    return [*in_own_process(benchmark, {}), *kept]


def with_memory_returned(benchmark: Benchmark) -> list[Row]:
    """For rows that are about memory."""
    return in_own_process(benchmark, RETURN_MEMORY)


def _rows(benchmark: Benchmark) -> list[Row]:
    torch.set_num_threads(NUM_THREADS)
    logging.set_verbosity_error()
    return list(benchmark())
