"""The command: exit codes, one message an error, JSON that parses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.contract_result import ContractBreachError
from data_contracts.digest import UnstableValueError
from data_contracts.errors import DataError, UsageError
from flows.pipeline import STAGES
from flows.profile_files import ConfigError
from flows.run_request import RunRequest
from infra.tracking import UnknownRunError
from model.checkpoints.packaged_wheels import PackagedWeightsError
from model.checkpoints.weights import CheckpointError
from tasks.ingest import TooManyRejectedError
from tasks.initial_model.build import WeightSourceError
from tasks.initial_model.shape import UnknownShapeError
from tasks.sources.catalogue import corpora
from tasks.sources.corpus_files import CorpusError
from tasks.sources.manifest import DataSourceError
from tests.support.command import q2a
from tests.support.tiny_run import TinyRun

WRONG_USE = [
    (["plan", "-p", "tinny"], "there is no profile 'tinny'"),
    (["plan", "-p", "tiny", "-s", "dpo.beta=0"], "dpo.beta: Input should be greater than 0 (got 0"),
    (["run", "-p", "tiny", "--until", "sfft"], "there is no stage 'sfft'; there are ['ingest'"),
    (["resume", "0123456789abcdef"], "has no run '0123456789abcdef'. `q2a show` lists"),
    (["ingest", "--data", "esc50=/b", "--data", "b.jsonl"], "several have to be corpora"),
    (["run", "-p", "tiny", "--stages", "ingest,sfft"], "stages names ['sfft']; there are"),
    (["run", "-p", "tiny", "--stages", "sft,evaluate"], "sft reads corpus, which ingest makes"),
    (
        ["run", "-p", "tiny", "-s", "sft.optimiser.steps=1"],
        "Did you mean sft.optimizer for sft.optimiser?",
    ),
    (["run", "-p", "no/such.yaml"], "profile 'no/such.yaml' can't be read"),
    (["ingest", "--data", "esc5=/data"], "there is no corpus 'esc5'; there are air_bench"),
    (["ingest", "--data", "esc50:fold9=/data"], "esc50 has no split fold9; it has fold1, fold2"),
    (["ingest", "--data", "a.jsonl", "--data", "b.jsonl"], "several have to be corpora"),
    (["adopt", "nowhere"], "nowhere has no finished artifact (STAGE/FINGERPRINT/record.json)"),
    (["serve", "-p", "tiny"], "q2a serve needs a Prefect server that stays"),
    (["plan", "--profil", "tiny"], "No such option"),
    (["fly"], "No such command 'fly'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_USE)
def test_wrong_use_ends_with_2_and_one_message(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert q2a(monkeypatch, *arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len([line for line in errors.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in errors


def test_a_plan_for_a_cluster_needs_neither_its_data_nor_its_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "plan", "-p", "cluster") == 0
    screen = capsys.readouterr().out
    for words in ("Estimate: 32 x H100", "GPU hours", "cost, USD", "Memory of one worker, GiB"):
        assert words in screen
    assert "unknown" in screen
    assert "ingest: no estimate: what it takes depends on recordings" in screen
    assert "assumed: weights.language_model is taken to have the published shape" in screen
    assert q2a(monkeypatch, "plan", "-p", "cluster", "--json") == 0
    stages = {stage["stage"]: stage for stage in json.loads(capsys.readouterr().out)}
    assert stages["ingest"]["estimate"] is None
    pretrain = stages["pretrain"]["estimate"]
    assert pretrain["fits"] is True
    assert pretrain["cost"] == pytest.approx(3.0 * pretrain["gpu_hours"])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FloatingPointError("the loss is nan"), 1, "error: FloatingPointError: the loss is nan"),
        (DataError("there is no manifest"), 3, "error: there is no manifest"),
        (UsageError("there is no profile"), 2, "error: there is no profile"),
        (KeyboardInterrupt(), 130, "stopped by the user"),
    ],
)
def test_the_exit_code_tells_what_ended_a_command(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(RunRequest, "load", fail)
    assert q2a(monkeypatch, "run") == code
    assert capsys.readouterr().err.startswith(message)


def fail_inside(*_: object) -> None:
    raise KeyError("x")


def test_an_unexpected_error_names_the_file_with_its_traceback_and_debug_prints_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RunRequest, "load", fail_inside)
    assert q2a(monkeypatch, "run") == 1
    (path,) = (home / "logs").iterdir()
    assert capsys.readouterr().err == f"error: KeyError: 'x' (traceback: {path})\n"
    assert "in fail_inside" in path.read_text()
    assert q2a(monkeypatch, "--debug", "run") == 1
    errors = capsys.readouterr().err
    assert errors.startswith("Traceback (most recent call last)")
    assert "in fail_inside" in errors
    assert "\nerror: KeyError: 'x' (traceback: " in errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConfigError, UsageError),
        (UnknownRunError, UsageError),
        (UnknownShapeError, UsageError),
        (UnstableValueError, UsageError),
        (ContractBreachError, DataError),
        (CorpusError, DataError),
        (TooManyRejectedError, DataError),
        (DataSourceError, DataError),
        (WeightSourceError, DataError),
        (CheckpointError, DataError),
        (PackagedWeightsError, DataError),
    ],
)
def test_errors_that_a_person_ends_by_correcting_something_are_of_a_kind(
    error: type[Exception], kind: type[Exception]
) -> None:
    assert issubclass(error, kind)


def test_a_run_outside_of_the_repository_says_where_the_corpus_was_sought_and_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert q2a(monkeypatch, "run", "--profile", "demo") == 3
    errors = capsys.readouterr().err
    assert f"there is no manifest '{tmp_path}/data/manifest.jsonl'" in errors
    assert f"starts from the working directory, which is '{tmp_path}'" in errors
    assert "--set data.manifest=PATH" in errors
    assert "clone it" in errors


def test_list_describes_every_corpus_and_as_json_its_layout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert q2a(monkeypatch, "ingest", "--list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [corpus["name"] for corpus in listed] == list(corpora())
    for corpus in listed:
        recipe = corpora()[corpus["name"]]
        assert corpus["splits"] == recipe.splits
        assert corpus["layout"] == recipe.layout
        assert corpus["license"] == recipe.license
    assert q2a(monkeypatch, "ingest", "--list") == 0
    screen = capsys.readouterr().out
    for name in corpora():
        assert name in screen
    assert "CC-BY-NC-3.0" in screen
    assert "fold1" in screen
    assert "--list --json shows each layout" in screen


def test_a_corpus_whose_rows_are_all_rejected_ends_with_3_and_the_first_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "esc/meta").mkdir(parents=True)
    table = "filename,fold,category,src_file\n../a.wav,1,dog,1\n"
    (tmp_path / "esc/meta/esc50.csv").write_text(table)
    monkeypatch.chdir(tmp_path)
    assert q2a(monkeypatch, "ingest", "-p", "tiny", "--data", "esc50:fold1=./no/../esc") == 3
    errors = capsys.readouterr().err
    assert f"split fold1 of corpus esc50 in {tmp_path}/esc has no usable row" in errors
    assert "climbs out of its folder" in errors


def test_a_plan_of_an_empty_store_misses_everything_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small_manifest: Path
) -> None:
    arguments = ["plan", "-p", "tiny", "--json", "-s", f"data.manifest={small_manifest}"]
    assert q2a(monkeypatch, *arguments) == 0
    planned = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in planned] == [stage.name for stage in STAGES]
    assert {stage["state"] for stage in planned} == {"miss"}
    assert {stage["reason"] for stage in planned} == {"never made"}


def test_planning_writes_no_artifact(
    home: Path, monkeypatch: pytest.MonkeyPatch, small_manifest: Path
) -> None:
    q2a(monkeypatch, "plan", "-p", "tiny", "-s", f"data.manifest={small_manifest}")
    assert list(home.rglob("*")) == []


def test_a_plan_after_a_run_hits_and_names_what_an_override_changes(
    tiny_run: TinyRun,
    tiny_overrides: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("Q2A_HOME", str(tiny_run.settings.home))
    options = [part for override in tiny_overrides for part in ("-s", override)]
    assert q2a(monkeypatch, "plan", "-p", "tiny", *options, "--json") == 0
    assert {stage["state"] for stage in json.loads(capsys.readouterr().out)} == {"hit"}
    changed = ["-s", "dpo.beta=0.2", "-s", "evaluate.seed=[1]"]
    assert q2a(monkeypatch, "plan", "-p", "tiny", *options, *changed) == 2
    capsys.readouterr()
    assert q2a(monkeypatch, "plan", "-p", "tiny", *options, "-s", "dpo.beta=0.2") == 0
    screen = capsys.readouterr().out
    assert "beta: 0.1 -> 0.2" in screen


def test_show_lists_pipeline_runs(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("Q2A_HOME", str(tiny_run.settings.home))
    assert q2a(monkeypatch, "show") == 0
    assert tiny_run.run_id in capsys.readouterr().out


def test_doctor_ends_with_1_where_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("Q2A_STORE", str(tmp_path / "file" / "store"))
    assert q2a(monkeypatch, "doctor") == 1
    screen = capsys.readouterr().out
    assert "bad  artifact store" in screen
    assert "good audio decoders" in screen


def test_the_installed_command_reports_errors_the_same_way(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "q2a"
    ended = subprocess.run(
        [str(command), "plan", "-p", "tinny"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "Q2A_HOME": str(tmp_path / "home")},
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: there is no profile 'tinny'; there are [")
    assert len(ended.stderr.splitlines()) == 1
