"""The harness measures what it says, and a missed goal is an exit code."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.harness import Condition, Race, Row, peak_bytes, race
from benchmarks.isolation import KEEP_MEMORY, in_own_process, with_memory_returned
from benchmarks.workload import clip_samples
from model.audio import SAMPLE_RATE
from tests.support.clock import Clock


def row(ratio: float, error: float, goal: float | None = 2.0) -> Row:
    return Row(
        name="a row",
        work="work",
        race=Race(ours=0.1, reference=0.3, ratio=ratio),
        goal=goal,
        stretch=None,
        conditions=(Condition("loss", error, "<=", 1e-5),),
    )


def run(tmp_path: Path, found: Row, *names: str) -> int:
    def benchmark() -> Iterator[Row]:
        yield found

    return main(names, {"some": benchmark}, tmp_path / "results.json", lambda run: list(run()))


def whereabouts() -> Iterator[Row]:
    """What a process can tell about itself, as a row."""
    kept = int(os.environ.get("MALLOC_TRIM_THRESHOLD_", "0"))
    yield replace(row(ratio=os.getpid(), error=kept), work=f"{torch.get_num_threads()} threads")


def peak_of_100_mb() -> Iterator[Row]:
    """How far work that takes so much raises the memory of a process, as a row."""

    def work() -> None:
        for _ in range(3):
            torch.ones(25_000_000)  # 100 MB that are free again before the next

    yield row(ratio=0.0, error=peak_bytes(work))


def test_a_met_goal_exits_0_and_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, row(ratio=3.0, error=1e-6)) == 0
    out = capsys.readouterr().out
    assert "| 100 ms   | 300 ms    | 3x     | 2x" in out
    assert "Every goal is met" in out
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"][0]["race"]["ratio"] == 3.0
    assert results["machine"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (row(ratio=1.9, error=1e-6), "a row: the ratio is 1.9, must be >= 2."),
        (row(ratio=3.0, error=1e-4), "a row: loss is 0.0001, must be <= 1e-05."),
        (row(ratio=3.0, error=float("nan")), "a row: loss is nan, must be <= 1e-05."),
        (row(ratio=0.1, error=1.0, goal=None), "a row: loss is 1, must be <= 1e-05."),
    ],
)
def test_a_missed_goal_or_bound_exits_1_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: Row, sentence: str
) -> None:
    assert run(tmp_path, found) == 1
    assert capsys.readouterr().out.endswith(f"\n\n{sentence}\n")


def test_a_part_of_the_benchmarks_leaves_the_results_alone(tmp_path: Path) -> None:
    assert run(tmp_path, row(ratio=3.0, error=0.0), "some") == 0
    assert not (tmp_path / "results.json").exists()


def test_an_unknown_name_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, row(3.0, 0.0), "other") == 2
    assert capsys.readouterr().out == "unknown: other. Choose among some, ingest-million.\n"


def test_a_benchmark_has_a_process_of_its_own_that_keeps_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in KEEP_MEMORY:
        monkeypatch.setenv(name, "0")
    (found,) = in_own_process(whereabouts)
    assert found.race.ratio != os.getpid()
    assert found.conditions[0].value >= 2**30
    assert found.work == "1 threads"


def test_the_ratio_is_that_of_a_usual_round_on_a_machine_whose_speed_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr("benchmarks.harness.time", SimpleNamespace(process_time=clock.monotonic))
    ours, reference = iter([99, 2, 4, 60, 8, 9]), iter([99, 20, 40, 600, 40, 360])
    result = race(
        lambda: clock.sleep(next(ours)), lambda: clock.sleep(next(reference)), 0.0, least_rounds=5
    )
    assert result == Race(ours=8, reference=40, ratio=10), "the first of each warms up"


def test_the_peak_is_that_of_the_largest_moment() -> None:
    (found,) = with_memory_returned(peak_of_100_mb)  # where no other test's threads take memory
    assert found.conditions[0].value == pytest.approx(100e6, rel=0.1)


@pytest.mark.parametrize("count", [4, 32])
def test_clips_are_as_long_as_the_goals_table_says(count: int) -> None:
    seconds = sorted(samples / SAMPLE_RATE for samples in clip_samples(count))
    assert 5 < sum(seconds[count // 2 - 1 : count // 2 + 1]) / 2 < 7
    assert 6.8 < sum(seconds) / count < 7.7
    assert seconds[0] >= 0.5
    assert seconds[-1] <= 30
