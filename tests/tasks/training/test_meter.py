"""The meter's shares of the peak."""

from types import SimpleNamespace

import pytest

from infra.compute.interface import Worker
from tasks.training import meter
from tasks.training.meter import Meter

STEP = {
    "loss": 1.0, "weight": 1.0, "tokens": 1.0, "padding_tokens": 0.0, "audio_seconds": 1.0,
    "data_wait": 0.0,
}  # fmt: skip


def test_a_training_that_beats_the_measured_peak_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: now))
    shares = []
    reader = Meter(Worker(rank=0, world_size=2, device="cpu"), {}, peak=100.0)
    for flops in (100.0, 244.0, 122.0):
        reader.add({**STEP, "flops": flops})
        now += 1.0
        shares.append(reader.read()["share_of_peak"])
    # The peak of two workers is 200 operations a second, then the 244 that were seen.
    assert shares == [0.5, 1.0, 0.5]
