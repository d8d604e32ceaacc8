"""One's own data and a finished checkpoint become an evaluated model, with a shipped profile."""

import csv
from pathlib import Path

import pytest

from tests.support.own_job import OwnJob, as_folder, report_of, spoken_rows
from tests.support.tiny_run import TinyRun


@pytest.fixture
def job(tmp_path: Path, tiny_run: TinyRun) -> OwnJob:
    return OwnJob(tmp_path, tiny_run.artifact("sft").path("checkpoint"))


def assert_compares_start_and_fine_tuned(run: TinyRun, suite: str) -> None:
    assert [outcome.stage for outcome in run.outcomes] == ["ingest", "start", "sft", "evaluate"]
    report = report_of(run)
    assert report.checkpoints == ("start", "sft")
    assert suite in report.suites
    compared = {(c.suite, c.before, c.after) for c in report.comparisons}
    assert (suite, "start", "sft") in compared


def test_thirty_transcribed_clips_fine_tune_a_finished_model(job: OwnJob) -> None:
    run = job.run("finetune", job.manifest(spoken_rows(30)))
    assert_compares_start_and_fine_tuned(run, "asr")


def test_a_folder_of_recordings_without_languages_fine_tunes_it_too(job: OwnJob) -> None:
    run = job.run("finetune-lora", as_folder(spoken_rows(30), job.folder / "recordings"))
    assert_compares_start_and_fine_tuned(run, "asr")


def test_labels_of_a_task_that_the_profile_declares_fine_tune_it(job: OwnJob) -> None:
    rows = [
        {"id": row["id"], "audio": row["audio"], "task": "weather", "text": ("rain", "sun")[i % 2]}
        for i, row in enumerate(spoken_rows(30))
    ]
    declared = (
        'data.tasks={weather: {kind: label, prompt: "Name the weather:", choices: [rain, sun]}}'
    )
    run = job.run("finetune", job.manifest(rows), declared)
    assert_compares_start_and_fine_tuned(run, "weather")


def test_conversations_fine_tune_it(job: OwnJob) -> None:
    rows = [
        {
            "id": row["id"],
            "audio": row["audio"],
            "conversation": [
                {"role": "user", "text": "What do you hear?"},
                {"role": "assistant", "text": f"Somebody says: {row['text']}"},
            ],
        }
        for row in spoken_rows(30)
    ]
    assert_compares_start_and_fine_tuned(job.run("finetune", job.manifest(rows)), "conversation")


def test_a_table_with_named_columns_fine_tunes_it(job: OwnJob) -> None:
    path = job.folder / "own.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["audio", "text", "language"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(spoken_rows(30))
    assert_compares_start_and_fine_tuned(job.run("finetune", path), "asr")


def test_preference_pairs_of_ones_own_align_it(job: OwnJob) -> None:
    rows = [
        {
            "id": row["id"],
            "audio": row["audio"],
            "conversation": [
                {"role": "user", "text": "What is said?"},
                {"role": "assistant", "text": row["text"]},
            ],
            "rejected": "Nothing at all.",
        }
        for row in spoken_rows(30)
    ]
    run = job.run("align", job.manifest(rows))
    assert [outcome.stage for outcome in run.outcomes] == ["ingest", "start", "dpo", "evaluate"]
    report = report_of(run)
    assert report.checkpoints == ("start", "dpo")
    assert "preference" in report.suites


def test_a_finished_model_is_evaluated_without_a_step_of_training(job: OwnJob) -> None:
    run = job.run("evaluate-only", job.manifest(spoken_rows(30)))
    assert [outcome.stage for outcome in run.outcomes] == ["ingest", "start", "evaluate"]
    assert report_of(run).checkpoints == ("start",)


def test_two_finished_models_are_compared_under_ones_own_names(job: OwnJob) -> None:
    rows = job.manifest(spoken_rows(30))
    run = job.run("evaluate-only", rows, f"compare={{mine: start, theirs: {job.checkpoint}}}")
    assert report_of(run).checkpoints == ("mine", "theirs")
