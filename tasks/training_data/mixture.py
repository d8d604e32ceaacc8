"""Holds `Mixture`: how often examples of each task, language and corpus are drawn; measures it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data_contracts.recipe import Recipe
from data_contracts.records import Record
from model.audio import SAMPLE_RATE
from tasks.corpus.contents import absent_tasks
from tasks.training.data_plan import DataPlan
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.example_table import NO_LANGUAGE, Column, ExampleTable
from tasks.training_data.mixture_plan import (
    Group,
    MixtureError,
    check_weights,
    group_shares,
    plan_groups,
    task_shares,
)

_TEMPERATURE = 2.0
"""T of a mixture without weights: a task with a hundred times the examples is drawn ten times as
often, so that a small one is learnt too."""


class Mixture(Recipe):
    """Weights by task, language and corpus. `{task: weight}` alone is the short form.

    Each draw takes its task with probability proportional to the task's weight; the draws
    of a task go to its languages and corpora in proportion to the product of their weights.
    """

    tasks: dict[str, float] = Field(default={})
    """Task -> weight, at least 0; what is not named is left out, and what has a weight must have an
    example. Empty: every task that the corpus has, each with weight 1 and, where no temperature is
    given, with T = 2."""
    languages: dict[str, float] = Field(default={})
    """Language -> weight inside a task, at least 0; `none` where nobody speaks."""
    corpora: dict[str, float] = Field(default={})
    """Corpus, the manifest's `source` -> weight inside a task, at least 0."""
    temperature: float | None = None
    """T, above 0: a group of n examples counts its weight (1 if not given) times n^(1/T). 1 keeps
    the data's proportions, more draws rare groups more often. None: weights are shares, whatever
    n."""
    epochs: float | None = None
    """Epochs, above 0, after which training ends where `steps` are more; None: all steps."""

    @model_validator(mode="before")
    @classmethod
    def _accept_short_form(cls, value: Any) -> Any:
        is_short = isinstance(value, dict) and not value.keys() & cls.model_fields.keys()
        return {"tasks": value} if is_short else value

    @model_validator(mode="after")
    def _has_numbers(self) -> "Mixture":
        for what in ("tasks", "languages", "corpora"):
            check_weights(getattr(self, what), f"member of {what}")
        for name in ("temperature", "epochs"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise MixtureError(
                    f"mixture.{name} is {value}; it has to be above 0 and finite. Leave it out for "
                    f"{'shares as weighed' if name == 'temperature' else 'all steps'}."
                )
        return self

    def over(self, tasks: Iterable[str]) -> "Mixture":
        """Return the mixture with weights: its own, or those of all these tasks."""
        if self.tasks:
            return self
        weights = dict.fromkeys(sorted(tasks), 1.0)
        temperature = self.temperature or _TEMPERATURE
        return self.model_copy(update={"tasks": weights, "temperature": temperature})

    def draw(self, table: ExampleTable, optimizer: OptimizerRecipe) -> DataPlan:
        """Plan a training of `optimizer.steps`, or of fewer where `epochs` are over before.

        Args:
            table: a row an example.
            optimizer: its steps, examples a step and seed.

        Raises:
            MixtureError: a task has a weight and no example; weights are too large or too small
                together, the temperature too low; languages or corpora have weights, but not all
                that the data has; nothing is left to train on.
        """
        there = {table.task.names[code] for code in np.unique(table.task.codes)}
        if problem := absent_tasks(self.tasks, there):
            raise MixtureError(problem)
        if there and not self.tasks:
            return self.over(there).draw(table, optimizer)
        groups = self._groups(table)
        weights = self._task_weights(groups)
        shares = _shares(groups, weights, len(table))
        per_step = optimizer.examples_per_step
        steps = self._num_steps(int((shares > 0).sum()), per_step, optimizer.steps)
        return DataPlan(
            plan=plan_groups(groups, weights, steps, per_step, optimizer.seed),
            pools=_pools(groups, len(table)),
            shares=shares,
        )

    def _num_steps(self, num_drawn: int, examples_per_step: int, most: int) -> int:
        """Count the steps until `epochs` of the drawn examples are over, at most `most`."""
        if self.epochs is None:
            return most
        wanted = self.epochs * num_drawn / examples_per_step
        return math.ceil(wanted) if wanted < most else most

    def _task_weights(self, groups: Mapping[str, list[Group]]) -> dict[str, float]:
        counts = {task: sum(len(g.examples) for g in some) for task, some in groups.items()}
        return {
            task: weight and _product((weight, self._of_count(counts.get(task, 1))), task)
            for task, weight in self.tasks.items()
        }

    def _of_count(self, count: int) -> float:
        if self.temperature is None:
            return 1.0
        try:
            return float(count ** (1 / self.temperature))
        except OverflowError as error:
            raise MixtureError(
                f"mixture.temperature {self.temperature} weighs {count} examples as {count} to the "
                f"power of {1 / self.temperature:g}, which no number holds. 1 keeps the data's "
                "proportions; take more to draw more often what is rare."
            ) from error

    def _groups(self, table: ExampleTable) -> dict[str, list[Group]]:
        """Group the examples of each task, by language and corpus where these have weights."""
        languages = self._factors(table.language, self.languages, "languages")
        corpora = self._factors(table.corpus, self.corpora, "corpora")
        codes = table.task.codes.astype(np.int64)
        for column, factors in ((table.language, languages), (table.corpus, corpora)):
            if factors:
                codes = codes * len(column.names) + column.codes
        order = codes.argsort(kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        groups: dict[str, list[Group]] = {}
        for examples in np.split(order, starts[1:]) if len(order) else ():
            first = int(examples[0])
            weights = (
                languages.get(table.language[first], 1.0),
                corpora.get(table.corpus[first], 1.0),
                self._of_count(len(examples)),
            )
            if all(weights):
                weight = _product(weights, f"{table.language[first]} of {table.corpus[first]}")
                groups.setdefault(table.task[first], []).append(Group(examples, weight))
        return groups

    def _factors(self, column: Column, weights: dict[str, float], what: str) -> dict[str, float]:
        """Return the weight of each name; empty where the mixture does not weigh them."""
        there = {column.names[code] for code in np.unique(column.codes)}
        if not weights:
            return dict.fromkeys(there, 1.0) if self.temperature else {}
        given = weights if NO_LANGUAGE in weights else weights | {NO_LANGUAGE: 1.0}
        if missing := sorted(there - given.keys()):
            raise MixtureError(
                f"the mixture weighs the {what} {sorted(weights)}, but the data has {missing} too. "
                "Give each a weight, 0 to leave it out."
            )
        if unknown := sorted(weights.keys() - there - {NO_LANGUAGE}):
            raise MixtureError(
                f"the mixture weighs the {what} {unknown}, which the data lacks; it has "
                f"{sorted(there)}. Correct the name, or leave it out."
            )
        return given


def _pools(groups: Mapping[str, list[Group]], num_examples: int) -> NDArray[np.int32]:
    """Return [num_examples]: the group of each example, over all tasks; -1 where it has none."""
    pools = np.full(num_examples, -1, np.int32)
    for number, group in enumerate(group for some in groups.values() for group in some):
        pools[group.examples] = number
    return pools


def _shares(
    groups: Mapping[str, list[Group]], weights: Mapping[str, float], num_examples: int
) -> NDArray[np.float64]:
    """Return [num_examples]: the part of all draws that each example is wanted to have."""
    shares = np.zeros(num_examples)
    for task, share in zip(*task_shares([*groups], weights), strict=True):
        parts = group_shares(groups[task])
        for group, part in zip(groups[task], parts, strict=True):
            shares[group.examples] = share * part / len(group.examples)
    return shares


def _product(factors: Sequence[float], what: str) -> float:
    """Multiply positive factors; the product has to be positive and finite too."""
    if 0 < (product := math.prod(factors)) < math.inf:
        return product
    raise MixtureError(
        f"the mixture weighs {what} as {' times '.join(map(str, factors))}, which comes "
        f"out as {product}. Only ratios count: bring the weights nearer to 1."
    )


class MixtureRow(Record):
    """How much was wanted and drawn of one task, language or corpus."""

    axis: str
    """`task`, `language` or `corpus`."""
    name: str
    wanted_share: float
    share: float
    """Share of all draws."""
    draws: int
    examples: int
    """Different examples among the draws."""
    audio_hours: float
    audio_tokens: int


def measure(data: DataPlan, table: ExampleTable) -> Iterator[MixtureRow]:
    """Compare what a plan draws with what was wanted, by task, language and corpus."""
    draws = np.bincount(data.plan.ravel(), minlength=len(table)).astype(np.float64)
    for axis in ("task", "language", "corpus"):
        column: Column = getattr(table, axis)
        sums = {
            "wanted_share": column.sums(data.shares),
            "draws": column.sums(draws),
            "examples": column.sums((draws > 0).astype(np.float64)),
            "samples": column.sums(draws * table.num_samples),
            "tokens": column.sums(draws * table.num_audio_tokens),
        }
        for name in sorted(column.names):
            of_name = {key: values[name] for key, values in sums.items()}
            if of_name["draws"] or of_name["wanted_share"]:
                yield MixtureRow(
                    axis=axis,
                    name=name,
                    wanted_share=of_name["wanted_share"],
                    share=of_name["draws"] / data.plan.size,
                    draws=int(of_name["draws"]),
                    examples=int(of_name["examples"]),
                    audio_hours=of_name["samples"] / SAMPLE_RATE / 3600,
                    audio_tokens=int(of_name["tokens"]),
                )
