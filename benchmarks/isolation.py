"""A process of its own for each benchmark, with an allocator that both sides meet alike."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
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


def in_own_process(benchmark: Benchmark) -> list[Row]:
    """The rows of a benchmark, from a new process that keeps its memory."""
    os.environ.update(KEEP_MEMORY)  # read when a process starts
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_rows, benchmark).result()


def _rows(benchmark: Benchmark) -> list[Row]:
    torch.set_num_threads(NUM_THREADS)
    logging.set_verbosity_error()
    return list(benchmark())
