"""A benchmark's judgement: a missed goal or bound is named and ends in exit code 1."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.harness import Condition, Race, Row


def row(ratio: float, error: float, goal: float | None = 2.0) -> Row:
    bound = Condition("gradients", error, "<=", 1e-5)
    return Row("encoder", "4 clips", Race(1.0, ratio, ratio), goal, 3.0, (bound,))


def test_a_row_that_meets_goal_and_bound_misses_nothing() -> None:
    assert row(2.0, 1e-5).missed == []
    assert row(0.1, 0.0, goal=None).missed == []


@pytest.mark.parametrize(
    ("missed", "sentence"),
    [
        (row(1.99, 0.0), "encoder: the ratio is 1.99, must be >= 2."),
        (row(5.0, 1.1e-5), "encoder: gradients is 1.1e-05, must be <= 1e-05."),
        (row(5.0, float("nan")), "encoder: gradients is nan, must be <= 1e-05."),
    ],
)
def test_what_is_missed_is_said(missed: Row, sentence: str) -> None:
    assert missed.missed == [sentence]


@pytest.mark.parametrize(("ratio", "code"), [(2.5, 0), (1.5, 1)])
def test_the_exit_code_is_the_judgement(
    ratio: float,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured() -> Iterator[Row]:
        yield row(ratio, 0.0)

    monkeypatch.setattr(command, "BENCHMARKS", {"encoder": measured})
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.json")
    assert command.main([]) == code
    assert f"| encoder | 4 clips | {ratio:.2f} | 2.00 | 3.00 |" in capsys.readouterr().out
    assert (tmp_path / "results.json").exists()


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["speed"]) == 2
    assert "no benchmark ['speed']; there are log_mel, encoder" in capsys.readouterr().out
