"""The measured peak on a busy machine."""

from itertools import chain, cycle
from types import SimpleNamespace

import pytest
import torch

from model.costs import flops
from model.costs.flops import measured_peak


def test_the_peak_is_that_of_the_one_round_that_nobody_disturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flops, "_PEAK_SIDE", {"cpu": 8})
    disturbed, undisturbed = [0.01] * 7, [0.002]
    rounds = cycle(chain(disturbed, undisturbed))
    now = 0.0
    starts = cycle((True, False))

    def clock() -> float:
        nonlocal now
        if not next(starts):
            now += next(rounds)
        return now

    monkeypatch.setattr(flops, "time", SimpleNamespace(perf_counter=clock))
    peak = measured_peak(torch.device("cpu"), torch.float32)
    assert peak == pytest.approx(2 * 8**3 / 0.002)
