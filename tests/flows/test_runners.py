"""Sessions: the MLflow run and the scratch folder of a run, from its start to whatever end."""

import pytest

from flows.config import PipelineConfig, load_config
from flows.runners import StopAfterStageError, open_tracking, session
from infra.run_folders import RunningError, run_folder
from infra.settings import Settings
from infra.tracking import RunLogger, Tracking


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One home for all tests: its database takes ten seconds."""
    return Settings(home=tmp_path_factory.mktemp("home"), store="", tracking_uri="")


@pytest.fixture(scope="module")
def tracking(settings: Settings) -> Tracking:
    return open_tracking(settings)


@pytest.fixture(scope="module")
def config() -> PipelineConfig:
    return load_config("tiny", ())


def status_of(tracking: Tracking, run: RunLogger) -> str:
    (status,) = [r.info.status for r in tracking.pipelines() if r.info.run_id == run.run_id]
    return str(status)


def killed_run(tracking: Tracking, settings: Settings) -> RunLogger:
    """What a process left that was killed in the middle of an export."""
    run = tracking.start_pipeline("killed", {}, "another machine")
    tracking.start_stage(run, "sft", "fp", {})
    folder = settings.home / "scratch" / run.run_id
    (folder / "tmp0badcafe").mkdir(parents=True)
    (folder / "tmp0badcafe" / "model.safetensors").write_bytes(b"30 GB")
    (folder / "lock").touch()
    return run


def test_a_start_marks_and_clears_what_killed_runs_left_and_leaves_nothing_itself(
    settings: Settings, tracking: Tracking, config: PipelineConfig
) -> None:
    dead = killed_run(tracking, settings)
    alive = tracking.start_pipeline("alive", {}, "another machine")
    messages: list[str] = []
    with (
        run_folder(settings.home / "scratch", alive.run_id) as of_alive,
        session(config, settings, messages.append) as opened,
    ):
        assert sorted((settings.home / "scratch").iterdir()) == sorted([of_alive, opened.scratch])
        assert opened.scratch.name == opened.parent.run_id
        assert status_of(tracking, dead) == "KILLED"
        assert [run.info.status for run in tracking.children_of(dead.run_id)] == ["KILLED"]
        assert status_of(tracking, alive) == "RUNNING"
        assert status_of(tracking, opened.parent) == "RUNNING"
    assert status_of(tracking, opened.parent) == "FINISHED"
    assert list((settings.home / "scratch").iterdir()) == []
    assert any(dead.run_id in message for message in messages)


def test_a_run_killed_before_it_had_a_folder_or_after_is_marked_by_the_next_start(
    settings: Settings, tracking: Tracking, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, session(config, settings, print) as opened:
        dead = opened.parent
        patch.setattr(RunLogger, "finish", lambda *_: None)
    assert status_of(tracking, dead) == "RUNNING"
    with session(config, settings, print):
        assert status_of(tracking, dead) == "KILLED"


def test_a_failure_before_the_first_stage_leaves_its_reason_on_the_run_until_it_goes_on(
    settings: Settings, tracking: Tracking, config: PipelineConfig
) -> None:
    def tags() -> dict[str, str]:
        (run,) = [r for r in tracking.pipelines() if r.info.run_id == opened.parent.run_id]
        return dict(run.data.tags)

    with (
        pytest.raises(FileNotFoundError),
        session(config, settings, print) as opened,
    ):
        raise FileNotFoundError("there is no manifest 'mine.jsonl'")
    assert "there is no manifest 'mine.jsonl'" in tags()["q2a.error"]
    with session(config, settings, print, opened.parent):
        pass
    assert "q2a.error" not in tags()


def test_a_killed_run_is_continued_under_its_own_id(
    settings: Settings, tracking: Tracking, config: PipelineConfig
) -> None:
    dead = killed_run(tracking, settings)
    with session(config, settings, print, dead) as opened:
        assert opened.parent.run_id == dead.run_id
        assert status_of(tracking, dead) == "RUNNING"
        assert [path.name for path in opened.scratch.iterdir()] == ["lock"]
        assert [run.info.status for run in tracking.children_of(dead.run_id)] == ["KILLED"]
    assert status_of(tracking, dead) == "FINISHED"


def test_a_run_that_is_under_way_is_not_continued_and_goes_on(
    settings: Settings, tracking: Tracking, config: PipelineConfig
) -> None:
    with session(config, settings, print) as first:
        with (
            pytest.raises(RunningError, match=f"{first.parent.run_id} is under way"),
            session(config, settings, print, first.parent),
        ):
            pass
        assert first.scratch.is_dir()
        assert status_of(tracking, first.parent) == "RUNNING"


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_run_ends_as_its_error_says_and_its_scratch_is_gone(
    settings: Settings,
    tracking: Tracking,
    config: PipelineConfig,
    error: type[BaseException],
    status: str,
) -> None:
    with pytest.raises(error), session(config, settings, print) as opened:
        raise error
    assert status_of(tracking, opened.parent) == status
    assert not opened.scratch.exists()


def test_a_run_that_stops_after_its_last_wanted_stage_is_finished(
    settings: Settings, tracking: Tracking, config: PipelineConfig
) -> None:
    with session(config, settings, print) as opened:
        raise StopAfterStageError
    assert status_of(tracking, opened.parent) == "FINISHED"  # type: ignore[unreachable, unused-ignore]
