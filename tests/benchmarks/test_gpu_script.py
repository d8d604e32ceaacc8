"""The GPU benchmark stays runnable where there is no GPU, on a machine with little installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import gpu
from benchmarks.gauge import Gauge, largest_fitting
from benchmarks.gpu_model import SHAPES, build, frozen_encoder, reference_attention
from benchmarks.texts import padded, transcripts
from benchmarks.workload import by_number, clips, padded_features
from model.batch import collate
from model.features import log_mel_spectrogram
from model.forward import cross_entropy

CPU = torch.device("cpu")
TINY = SHAPES["tiny"]
ABSENT = (
    "accelerate", "av", "great_expectations", "jiwer", "matplotlib", "mlflow", "pandas", "peft",
    "prefect", "ray", "sacrebleu", "scipy", "soundfile", "soxr", "webdataset",
)  # fmt: skip


def test_the_tiny_shape_runs_to_the_end_with_torch_transformers_and_little_else() -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
        "from benchmarks import gpu\n"
        "sys.exit(gpu.main(['--shape', 'tiny', '--device', 'cpu']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    tables, _, rest = run.stdout.partition("\n{")
    found = json.loads("{" + rest)
    for name, rows in ((name, found[name]) for name in gpu.SECTIONS):
        assert f"### {name}\n" in tables
        assert "| " + " | ".join(rows[0]) + " |" in tables
        times = [row.get("s a step", row.get("ms a step", 1.0)) for row in rows]
        assert all(isinstance(time, float) for time in times), rows
    assert [row["item"] for row in found["training"]] == [
        "ASR, all trained",
        "ASR, all trained",
        "QA, encoder frozen",
        "DPO pairs, reference cached",
        "optimizer alone",
    ]
    for row in found["training"][:-1]:
        assert row["packed tokens"] <= max(TINY.token_budgets)
        assert row["share of matmul"] > 0, "the clock of a busy machine tells no more"
        assert row["share of nominal"] is None, "nobody states a peak of this machine"
    assert all(row["ours, times as many"] > 0 for row in found["reference"])


def test_the_published_shape_has_8_4_billion_parameters() -> None:
    model = build(SHAPES["published"], torch.device("meta"))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(8.4e9, rel=0.01)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_the_reference_does_the_same_work() -> None:
    model = build(TINY, CPU).float()
    sequences = transcripts(3, TINY.text["vocab_size"])
    waveforms, bins = clips(3), TINY.audio["num_mel_bins"]
    batch = collate(sequences, by_number(log_mel_spectrogram(waveforms, bins)))
    ours = cross_entropy(model, batch, 0.0) / batch.num_labels
    with reference_attention(model):
        loss: Tensor = model(**padded(sequences), **padded_features(waveforms, bins)).loss
    torch.testing.assert_close(ours, loss, atol=1e-5, rtol=0)
    again = cross_entropy(model, batch, 0.0) / batch.num_labels
    assert torch.equal(again, ours), "packed attention is back"


def test_only_a_frozen_encoder_learns_nothing() -> None:
    model = build(TINY, CPU)
    learning = [p.requires_grad for p in model.parameters()]
    with frozen_encoder(model):
        assert not any(p.requires_grad for p in model.model.audio_tower.parameters())
        assert all(p.requires_grad for p in model.model.language_model.parameters())
    assert [p.requires_grad for p in model.parameters()] == learning


@pytest.mark.parametrize("limit", range(8))
@pytest.mark.parametrize("most", [1, 2, 5, 8])
def test_the_largest_that_fits_is_found(limit: int, most: int) -> None:
    tried = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= limit

    assert largest_fitting(fits, most) == min(limit, most)
    assert len(tried) == len(set(tried))
    assert max(tried) <= most


def test_what_does_not_fit_is_no_number_and_other_errors_are_errors() -> None:
    def too_much() -> None:
        raise torch.OutOfMemoryError("80 GB are taken")

    gauge = Gauge(CPU, rounds=1)
    assert gauge.measure(too_much) is None
    assert not gauge.fits(too_much)
    with pytest.raises(ZeroDivisionError):
        gauge.measure(lambda: 1 / 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "--shape tiny --device cpu" in capsys.readouterr().out
