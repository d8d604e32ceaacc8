"""What Ray loses: a worker, a node, a whole group or itself, with fakes in Ray's place."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import exceptions as ray_exceptions
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    AuthenticationError,
    GetTimeoutError,
    NodeDiedError,
    OutOfMemoryError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.train import ControllerError

from data_contracts.errors import UsageError
from infra.compute.on_ray import OnRay
from infra.compute.resources import Resources
from infra.compute.training_group import GroupFailedError, LostWorkError


class DyingTrainer:
    """Stands for a training group that fails while it starts."""

    def __init__(self, error: Exception, failures: int) -> None:
        self.error = error
        self.failures_left = failures

    def fit(self) -> None:
        if self.failures_left:
            self.failures_left -= 1
            raise self.error


IDLE = SimpleNamespace(
    available_resources=lambda: {"CPU": 2.0}, nodes=lambda: [{"Alive": True}], shutdown=list
)
"""Stands for Ray with two free CPUs."""
SHORT_OF_MEMORY = OutOfMemoryError("Task was killed due to the node running low on memory.\nMore")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry whenever Ray is left."""
    left: list[int] = []
    monkeypatch.setattr("ray.shutdown", lambda: left.append(1))
    return left


@pytest.mark.parametrize(
    "error",
    [
        ControllerError(ActorDiedError()),
        ControllerError(SHORT_OF_MEMORY),
        # Out of `ray.get` in `fit`, where the controller itself is lost.
        SHORT_OF_MEMORY,
        ActorDiedError(),
        ActorUnavailableError("the actor is temporarily unavailable", None),
        NodeDiedError("the node is dead"),
        WorkerCrashedError(),
        RaySystemError("something"),
        GetTimeoutError("timed out"),
        RayTaskError("run", "Traceback ...", RuntimeError("broken")),
        RayTaskError("run", "Traceback ...", RuntimeError("broken")).as_instanceof_cause(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(("failures", "survives"), [(2, True), (3, False)])
def test_whatever_is_lost_while_a_group_starts_costs_one_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: list[int],
    error: Exception,
    failures: int,
    survives: bool,
) -> None:
    trainer = DyingTrainer(error, failures)
    monkeypatch.setattr(OnRay, "_ray", lambda _: IDLE)
    monkeypatch.setattr(OnRay, "_trainer", lambda *_: trainer)
    lines: list[str] = []
    compute = OnRay(Resources(max_failures=2), "", tmp_path, lines.append)
    expected = nullcontext() if survives else pytest.raises(GroupFailedError, match="failure 3")
    with expected:
        compute.fit(print)
    assert trainer.failures_left == 0
    assert len(lines) == 2
    assert len(left) == 2, "what the group holds is not freed"


def test_a_group_that_memory_ends_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    monkeypatch.setattr(OnRay, "_ray", lambda _: IDLE)
    monkeypatch.setattr(OnRay, "_trainer", lambda *_: DyingTrainer(SHORT_OF_MEMORY, 1))
    compute = OnRay(Resources(max_failures=0), "", tmp_path)
    with pytest.raises(GroupFailedError, match=r"short of memory \(Task was .*num_workers"):
        compute.fit(print)


def test_a_ray_that_does_not_start_costs_a_failure_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    answers = iter([ConnectionError("no answer"), TimeoutError("no answer"), None])

    def init(**_: object) -> None:
        if (error := next(answers)) is not None:
            raise error

    for name, stands_for in {
        "is_initialized": lambda: False,
        "init": init,
        "available_resources": IDLE.available_resources,
    }.items():
        monkeypatch.setattr(f"ray.{name}", stands_for)
    trainer = DyingTrainer(SHORT_OF_MEMORY, 0)
    monkeypatch.setattr(OnRay, "_trainer", lambda *_: trainer)
    lines: list[str] = []
    OnRay(Resources(max_failures=2), "10.0.0.1:6379", tmp_path, lines.append).fit(print)
    assert len(lines) == 2
    assert "the Ray cluster at 10.0.0.1:6379 does not answer" in lines[0]


@pytest.mark.parametrize(
    ("address", "message"), [("10.0.0.1:6379", "RAY_AUTH_TOKEN"), ("", "this machine")]
)
def test_a_refused_token_is_an_error_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    def init(**_: object) -> None:
        raise AuthenticationError("invalid token")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(UsageError, match=message):
        OnRay(Resources(), address, tmp_path).fit(print)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (SHORT_OF_MEMORY, "short of memory .* lower resources.num_cpus"),
        (WorkerCrashedError(), "a worker is lost"),
        (NodeDiedError("the node is dead"), "a worker is lost"),
        (RaySystemError("something"), "something failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_item_that_is_lost_with_its_worker_ends_the_map_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    def lose(_: object) -> None:
        raise error

    cancelled: list[object] = []
    ray = SimpleNamespace(
        remote=lambda **_: lambda _: SimpleNamespace(remote=lambda _, item: item),
        put=lambda function: function,
        cluster_resources=lambda: {"CPU": 1.0},
        wait=lambda pending, **_: (pending[:1], pending[1:]),
        get=lose,
        cancel=cancelled.append,
        exceptions=ray_exceptions,
    )
    monkeypatch.setattr(OnRay, "_ray", lambda _: ray)
    with pytest.raises(LostWorkError, match=remedy):
        list(OnRay(Resources(), "", tmp_path).map(str, [1, 2]))
    assert cancelled == [2]
