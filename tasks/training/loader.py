"""Loads a worker's micro-batches in the planned order while the network computes.

What a micro-batch holds depends on the plan, the step and the number of workers alone, so neither
threads nor depth change a number, and the position to continue from is the step. Decoding and
spectra leave Python's lock free: threads do.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import numpy as np

from infra.compute.interface import Worker
from infra.compute.resources import Loading
from tasks.training.split import Load, SplitError, split

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)


class Source(Protocol[M_co]):
    """Where micro-batches come from: an objective, as far as the loader knows it."""

    def loads(self, examples: Sequence[int]) -> list[Load]:
        """Return how much each example asks of the network, at most."""
        ...

    def prepare(self, examples: Sequence[int], step: int, /) -> M_co:
        """Read and pack some examples of a step; called from several threads."""
        ...


@dataclass(frozen=True)
class LoadedStep(Generic[M]):
    """The micro-batches that a worker computes in a step."""

    step: int
    examples: list[list[int]]
    """The numbers of the examples of each micro-batch. One without any is there because strategies
    wait for all workers: it holds another worker's example, and must count for nothing."""
    micro_batches: list[M]
    seconds_waited: float = 0.0
    """How long the network waited for them."""


class Loader(Generic[M]):
    """Iterates once over the steps from `first` on; leave the block to end the threads."""

    def __init__(
        self,
        plan: np.ndarray,
        source: Source[M],
        worker: Worker,
        max_tokens: int,
        loading: Loading,
        first: int = 0,
    ) -> None:
        """Begin nothing yet.

        Args:
            plan: int64 [steps, examples_per_step]: which examples each step takes; negative
                numbers are left out, and where no other is there, the step is empty.
            source: makes micro-batches of example numbers.
            worker: whose micro-batches they are.
            max_tokens: most tokens of a micro-batch.
            loading: how far ahead steps are made.
            first: the step to begin with, which is the number of steps that are done.

        Raises:
            SplitError: fewer examples are planned for a step than there are workers.
        """
        if plan.shape[1] < worker.world_size:
            raise SplitError(
                f"a step has {plan.shape[1]} examples for {worker.world_size} workers. Raise "
                "examples_per_step or lower resources.num_workers."
            )
        self._plan = plan
        self._source = source
        self._worker = worker
        self._max_tokens = max_tokens
        self._ahead = loading.steps_ahead
        self._steps = iter(range(first, len(plan)))
        self._threads = ThreadPoolExecutor(loading.threads, thread_name_prefix="loader")
        self._waiting: deque[Future[LoadedStep[M]]] = deque()

    def __enter__(self) -> "Loader[M]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiting.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[LoadedStep[M]]:
        """Yield the steps as they become ready, in order.

        Raises:
            SplitError: a step has no split.
            Exception: what the source raised for this step, after all steps before it came.
        """
        while True:
            start = time.perf_counter()
            for step in islice(self._steps, self._ahead + 1 - len(self._waiting)):
                self._waiting.append(self._threads.submit(self._make, step))
            if not self._waiting:
                return
            ready = self._waiting.popleft().result()
            yield replace(ready, seconds_waited=time.perf_counter() - start)

    def _make(self, step: int) -> LoadedStep[M]:
        drawn = [example for example in self._plan[step].tolist() if example >= 0]
        if not drawn:
            return LoadedStep(step, [], [])
        loads, workers = self._source.loads(drawn), self._worker.world_size
        shares = split(drawn, loads, workers, self._max_tokens)
        # Workers take turns: else the first would always have the longest, and of a mixture of long
        # and short clips the same kind.
        mine = shares[(self._worker.rank + step) % workers]
        return LoadedStep(
            step, mine, [self._source.prepare(some or drawn[:1], step) for some in mine]
        )
