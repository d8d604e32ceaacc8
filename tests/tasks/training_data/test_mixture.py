"""What is drawn against what was wanted: by task, language, corpus, temperature and worker."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.compute.interface import Worker
from infra.compute.resources import Loading
from model.audio import num_audio_tokens
from tasks.conversations.task_table import TaskError, shipped_tasks
from tasks.pretrain import PretrainRecipe
from tasks.training.data_plan import DataPlan
from tasks.training.loader import Loader
from tasks.training.split import Load
from tasks.training_data.example_table import Column, ExampleTable
from tasks.training_data.mixture import Mixture, measure
from tasks.training_data.mixture_plan import MixtureError, plan_mixture
from tests.support.example_numbers import drawing

SAMPLES = {"a": 160_000, "b": 16_000}
"""The clips of one corpus last ten times as long as those of the other."""


def table_of(*rows: tuple[str, str, str, int]) -> ExampleTable:
    """Rows of (task, language, corpus, how many such examples)."""
    copies = [row for row in rows for _ in range(row[3])]
    tasks = Column.of(task for task, _, _, _ in copies)
    languages = Column.of(language for _, language, _, _ in copies)
    corpora = Column.of(corpus for _, _, corpus, _ in copies)
    lengths = np.array([SAMPLES.get(row[2], 8_000) for row in rows for _ in range(row[3])])
    tokens = np.array([num_audio_tokens(int(n)) for n in lengths])
    return ExampleTable(tasks, languages, corpora, lengths, tokens)


TWO_CORPORA = table_of(("asr", "en", "a", 500), ("asr", "en", "b", 2500))


class Clips:
    """What a loader asks of a corpus; a batch is the numbers of its examples."""

    def loads(self, examples: Sequence[int]) -> list[Load]:
        return [Load(int(n) + 20, int(n)) for n in TWO_CORPORA.num_audio_tokens[examples]]

    def prepare(self, examples: Sequence[int], _step: int, /) -> tuple[int, ...]:
        return tuple(examples)


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_two_corpora_3_to_1_measure_3_to_1_over_an_epoch_on_any_number_of_ranks(
    num_workers: int,
) -> None:
    """By what the loaders of all ranks deliver.

    Each step has 15 long and 5 short clips, and its shares differ: those of two ranks have 8 and 0
    or 7 and 5, because they are alike in work. Ranks take the shares in turn, and 2 and 5 divide
    the 150 steps, so each rank gets each share equally often, and has the ratio itself.
    """
    mixture = Mixture(tasks={"asr": 1}, corpora={"a": 3, "b": 1}, epochs=1)
    plan = mixture.draw(TWO_CORPORA, drawing(10_000, 20)).plan
    assert len(plan) == 150
    counts = np.zeros((num_workers, 2))
    for rank in range(num_workers):
        with Loader(plan, Clips(), Worker(rank, num_workers), 2_000, Loading()) as loader:
            for batch in chain.from_iterable(ready.micro_batches for ready in loader):
                counts[rank] += np.bincount(TWO_CORPORA.corpus.codes[list(batch)], minlength=2)
    total = counts.sum(axis=0)
    assert total.sum() == 3000
    assert total[0] / total[1] == pytest.approx(3, rel=0.02)
    assert np.array_equal(counts, np.tile(total / num_workers, (num_workers, 1)))


@pytest.mark.parametrize("seed", range(5))
def test_every_stretch_of_a_plan_has_the_ratio(seed: int) -> None:
    mixture = Mixture(tasks={"asr": 1}, corpora={"a": 3, "b": 1})
    drawn = mixture.draw(TWO_CORPORA, drawing(100, 40, seed)).plan.ravel()
    of_a = np.cumsum(TWO_CORPORA.corpus.codes[drawn] == 0)
    assert np.abs(of_a - 0.75 * np.arange(1, 4001)).max() <= 2


def test_inside_a_corpus_no_example_comes_again_before_all_came() -> None:
    mixture = Mixture(tasks={"asr": 1}, corpora={"a": 3, "b": 1})
    drawn = mixture.draw(TWO_CORPORA, drawing(100, 40, seed=1)).plan.ravel()
    of_a = drawn[drawn < 500]
    assert len(of_a) == pytest.approx(3000, abs=2)
    for start in range(0, len(of_a), 500):
        assert len(set(of_a[start : start + 500])) == len(of_a[start : start + 500])


NAMES = st.sampled_from(["x", "y", "z"])
ROWS = st.lists(
    st.tuples(NAMES, st.sampled_from(["en", "de", "none"]), st.sampled_from(["a", "b"]),
              st.integers(1, 9)), min_size=1, max_size=8,
)  # fmt: skip
WEIGHTS = st.fixed_dictionaries({name: st.floats(0.1, 9) for name in ("x", "y", "z")})


@given(ROWS, WEIGHTS, st.integers(0, 2**32))
def test_the_short_form_plans_what_pools_of_tasks_plan(
    rows: list[tuple[str, str, str, int]], weights: dict[str, float], seed: int
) -> None:
    table = table_of(*rows)
    mixture = Mixture.model_validate({task: weights[task] for task in table.task.names})
    pools = {
        task: [i for i in range(len(table)) if table.task[i] == task] for task in table.task.names
    }
    plan = plan_mixture(pools, weights, 6, 5, seed)
    data = mixture.draw(table, drawing(6, 5, seed))
    assert np.array_equal(data.plan, plan)
    total = sum(weights[task] for task in table.task.names)
    for number, share in enumerate(data.shares):
        task = table.task[number]
        assert share == pytest.approx(weights[task] / total / len(pools[task]))


def test_temperature_lies_between_the_datas_proportions_and_even_shares() -> None:
    table = table_of(("asr", "en", "a", 900), ("asr", "de", "a", 100))
    for temperature, expected in ((1.0, 0.1), (2.0, 0.25), (1e9, 0.5)):
        mixture = Mixture(tasks={"asr": 1}, temperature=temperature)
        data = mixture.draw(table, drawing(100, 40))
        assert table.language.sums(data.shares)["de"] == pytest.approx(expected)
        (row,) = [r for r in measure(data, table) if r.name == "de"]
        assert row.share == pytest.approx(expected, abs=1e-3)


def test_temperature_weighs_tasks_by_their_counts_too() -> None:
    table = table_of(("asr", "en", "a", 900), ("lid", "en", "a", 100))
    wanted = {
        temperature: table.task.sums(
            Mixture(tasks={"asr": 1, "lid": 2}, temperature=temperature)
            .draw(table, drawing(1, 1))
            .shares
        )["lid"]
        for temperature in (1.0, 2.0)
    }
    assert wanted[1.0] == pytest.approx(200 / 1100)
    assert wanted[2.0] == pytest.approx(2 * 10 / (30 + 2 * 10))


def test_languages_and_corpora_weigh_inside_a_task_and_leave_the_tasks_share() -> None:
    table = table_of(
        ("asr", "en", "a", 10), ("asr", "de", "a", 30), ("asr", "en", "b", 50),
        ("sound", "none", "b", 7),
    )  # fmt: skip
    mixture = Mixture(
        tasks={"asr": 1, "sound": 1}, languages={"en": 1, "de": 2}, corpora={"a": 1, "b": 4}
    )
    shares = mixture.draw(table, drawing(1, 1)).shares
    assert table.task.sums(shares) == pytest.approx({"asr": 0.5, "sound": 0.5})
    # English of a, German of a, English of b: 1, 2 and 4 of 7.
    assert table.language.sums(shares)["de"] == pytest.approx(0.5 * 2 / 7)
    assert shares[-10] == pytest.approx(0.5 * 4 / 7 / 50)


def test_a_weight_of_0_leaves_a_language_out() -> None:
    table = table_of(("asr", "en", "a", 10), ("asr", "de", "a", 30))
    english = Mixture(tasks={"asr": 1}, languages={"en": 1, "de": 0})
    assert set(english.draw(table, drawing(9, 9)).plan.ravel()) == set(range(10))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"languages": {"en": 1}}, r"weighs the languages \['en'\].*\['de'\] too.*0 to leave"),
        ({"corpora": {"a": 1, "b": 1}}, r"corpora \['b'\], which the data lacks; it has \['a'\]"),
        ({"languages": {"en": 0, "de": 0}}, "nothing is left to train on"),
        (
            {"corpora": {"a": 1e200}, "languages": {"en": 1e200, "de": 1}},
            r"weighs en of a as 1e\+200 times 1e\+200 times 1.0, which comes out as inf.*to 1",
        ),
        (
            {"corpora": {"a": 1e-200}, "languages": {"en": 1e-200, "de": 1}},
            r"1e-200 times 1e-200 times 1.0, which comes out as 0.0.*nearer to 1",
        ),
        (
            {"languages": {"en": 1e308, "de": 1e308}},
            r"'group 0': 1e\+308, 'group 1': 1e\+308} add up to inf.*divide all by the largest",
        ),
        (
            {"temperature": 1e-3},
            r"temperature 0.001 weighs \d+ examples as \d+ to the power of 1000.*1 keeps the data",
        ),
        ({"tasks": {"asr": 0}}, "nothing is left to train on"),
        (
            {"tasks": {"asr": 1, "lid": 1, "ser": 0.5, "sound": 0}},
            r"weighs \['lid', 'ser'\], of which .* no training example; it has \['asr'\]. Leave",
        ),
    ],
)
def test_weights_that_do_not_fit_the_data_are_refused(fields: dict[str, Any], message: str) -> None:
    table = table_of(("asr", "en", "a", 10), ("asr", "de", "a", 30))
    mixture = Mixture(**{"tasks": {"asr": 1}} | fields)
    with pytest.raises(MixtureError, match=message):
        mixture.draw(table, drawing(1, 1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *(
            ({what: {"a": value}}, rf"'a': {value}.*use 0 to leave a member of {what} out")
            for what in ("tasks", "languages", "corpora")
            for value in (-1.0, float("nan"), float("inf"))
        ),
        *(
            ({name: value}, rf"mixture\.{name} is {value}; it has to be above 0 and finite\. Leave")
            for name in ("temperature", "epochs")
            for value in (0.0, -1.0, float("nan"), float("inf"))
        ),
    ],
)
def test_what_is_no_number_to_weigh_with_is_refused_with_the_recipe(
    fields: dict[str, Any], message: str
) -> None:
    """Before anything is read: a stage later it would cost the stages before it."""
    with pytest.raises(ValidationError, match=message):
        Mixture(**{"tasks": {"asr": 1}} | fields)


def test_epochs_end_a_run_and_never_prolong_it() -> None:
    table = table_of(("asr", "en", "a", 100), ("lid", "en", "a", 50))

    def num_steps(most: int = 999, **mixture: Any) -> int:
        return Mixture(**{"tasks": {"asr": 1}} | mixture).draw(table, drawing(most, 8)).num_steps

    assert num_steps(epochs=2) == 25
    assert num_steps(epochs=2, most=7) == 7
    assert num_steps(epochs=0.5, tasks={"asr": 1, "lid": 1}) == 10
    assert num_steps() == 999
    assert num_steps(epochs=1e308) == 999


def test_a_mixture_without_weights_draws_all_tasks_by_the_root_of_their_sizes() -> None:
    table = table_of(("asr", "en", "a", 100), ("sound", "en", "a", 4))
    shares = table.task.sums(Mixture().draw(table, drawing(1, 1)).shares)
    assert shares == pytest.approx({"asr": 10 / 12, "sound": 2 / 12})
    even = table.task.sums(Mixture(temperature=1).draw(table, drawing(1, 1)).shares)
    assert even == pytest.approx({"asr": 100 / 104, "sound": 4 / 104})


def test_a_mixture_without_weights_may_be_over_some_tasks_alone() -> None:
    table = table_of(("asr", "en", "a", 9), ("replay:asr", "en", "a", 9))
    assert set(Mixture().over(["asr"]).draw(table, drawing(9, 9)).plan.ravel()) == set(range(9))
    weighed = Mixture(tasks={"replay:asr": 1})
    assert weighed.over(["asr"]) == weighed


def test_a_corpus_without_an_example_leaves_nothing_to_train_on() -> None:
    with pytest.raises(MixtureError, match="nothing is left to train on"):
        Mixture().draw(table_of(), drawing(1, 1))


def test_what_was_drawn_is_counted_by_hand() -> None:
    table = table_of(("asr", "en", "a", 2), ("lid", "de", "b", 1))
    data = DataPlan(
        plan=np.array([[0, 2], [2, 2]]),
        pools=np.zeros(3, np.int32),
        shares=np.array([0.25, 0.25, 0.5]),
    )
    rows = {(row.axis, row.name): row for row in measure(data, table)}
    asr, german = rows["task", "asr"], rows["language", "de"]
    assert (asr.draws, asr.examples, asr.share, asr.wanted_share) == (1, 1, 0.25, 0.5)
    assert asr.audio_hours == pytest.approx(10 / 3600)
    assert asr.audio_tokens == 250
    assert (german.draws, german.examples, german.share) == (3, 1, 0.75)
    assert german.audio_hours == pytest.approx(3 / 3600)
    assert german.audio_tokens == 3 * num_audio_tokens(16_000)
    assert rows["corpus", "b"].draws == 3
    assert len(rows) == 6


def test_a_recipe_takes_both_forms_and_knows_the_tasks() -> None:
    optimizer = {"steps": 1, "examples_per_step": 1, "learning_rate": 1, "warmup_steps": 0}
    short = PretrainRecipe.model_validate({"optimizer": optimizer, "mixture": {"asr": 2}})
    long = {"tasks": {"asr": 2}, "corpora": {"a": 1}, "temperature": 2}
    full = PretrainRecipe.model_validate({"optimizer": optimizer, "mixture": long})
    assert short.mixture == Mixture(tasks={"asr": 2})
    assert full.mixture.corpora == {"a": 1}
    assert Mixture.model_validate({"temperature": 3, "epochs": 1}).tasks == {}
    unknown = PretrainRecipe.model_validate({"optimizer": optimizer, "mixture": {"asrr": 2}})
    with pytest.raises(TaskError, match=r"pretrain.mixture: there is no task 'asrr'; .* asr, "):
        unknown.check_tasks(shipped_tasks())
