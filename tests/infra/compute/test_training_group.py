"""Groups: what fits, how long it is waited for, and who failed first."""

import pickle

import pytest

from infra.compute.training_group import (
    LoopError,
    NoRoomError,
    Room,
    describe_error,
    first_failure,
    workers_that_fit,
)
from tests.support.clock import Clock

GLOO = "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:7"


def loop_error(rank: int, at: float, cause: str, final: bool = False) -> LoopError:
    return LoopError(rank, at, cause, "Traceback ...", final)


def test_an_error_travels_between_processes_with_all_that_the_driver_needs() -> None:
    error = pickle.loads(pickle.dumps(describe_error(3, FloatingPointError("the loss is nan"))))
    assert str(error) == "worker 3: FloatingPointError: the loss is nan"
    assert error.final
    assert not error.collateral
    assert "FloatingPointError" in error.details


def test_the_earliest_error_is_the_cause() -> None:
    failure = first_failure(
        {0: loop_error(0, 20.0, "OSError: disk"), 1: loop_error(1, 10.0, "ValueError: odd", True)}
    )
    assert (failure.cause, failure.final) == ("worker 1: ValueError: odd", True)


def test_a_lost_connection_is_no_cause_even_if_it_came_first() -> None:
    failure = first_failure({0: loop_error(0, 1.0, GLOO), 1: loop_error(1, 2.0, "OSError: disk")})
    assert failure.cause == "worker 1: OSError: disk"


def test_a_killed_worker_is_the_cause_of_what_the_others_say() -> None:
    failure = first_failure(
        {
            0: loop_error(0, 1.0, GLOO),
            1: RuntimeError("The actor died unexpectedly. It had much more to say.\nAnd more"),
        }
    )
    assert failure.cause == "worker 1 is lost (The actor died unexpectedly)"
    assert not failure.final


def test_lost_connections_alone_are_tried_again() -> None:
    failure = first_failure({0: loop_error(0, 1.0, GLOO)})
    assert "another worker is lost" in failure.cause
    assert not failure.final


def test_an_error_that_would_come_again_is_a_cause_though_it_tells_of_a_connection() -> None:
    cause = "UploadError: a state can't be saved: ConnectionResetError: Connection reset by peer"
    failure = first_failure({0: loop_error(0, 1.0, cause, final=True)})
    assert (failure.cause, failure.final) == (f"worker 0: {cause}", True)


def test_a_worker_needs_room_in_every_resource() -> None:
    assert workers_that_fit({"CPU": 9.0, "GPU": 2.0}, {"CPU": 2, "GPU": 1}) == 2
    assert workers_that_fit({"CPU": 3.0, "GPU": 2.0}, {"CPU": 2, "GPU": 1}) == 1
    assert workers_that_fit({"CPU": 3.0}, {"CPU": 1, "GPU": 1}) == 0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("infra.compute.training_group.time", clock)
    return clock


def room(lines: list[str], num_workers: int = 4, min_workers: int = 2) -> Room:
    return Room(num_workers, min_workers, {"CPU": 1}, 60, lines.append)


def test_a_group_that_fits_starts_at_once_without_a_line() -> None:
    lines: list[str] = []
    assert room(lines).wait(lambda: {"CPU": 4.0}, lambda: 2) == 4
    assert lines == []


def test_what_becomes_free_in_time_is_waited_for_and_reported_once() -> None:
    lines: list[str] = []
    looks = iter([1.0] * 15 + [4.0])
    assert room(lines).wait(lambda: {"CPU": next(looks)}, lambda: 2) == 4
    assert lines == [
        "training asks for 4 workers of 1 CPU each; free are 1 CPU on 2 nodes; it waits up to 60 s"
    ]


def test_after_a_lost_node_the_group_starts_smaller_and_reports_it(clock: Clock) -> None:
    lines: list[str] = []
    began = clock.now
    assert room(lines).wait(lambda: {"CPU": 3.0}, lambda: 1) == 3
    assert clock.now - began == 60
    assert lines[-1].endswith("free are 3 CPU on 1 nodes; it starts with 3 of 4 workers")


def test_less_than_the_least_ends_with_what_was_asked_and_what_is_free() -> None:
    lines: list[str] = []
    with pytest.raises(NoRoomError, match=r"4 workers of 1 CPU.*free are 1 CPU.*placement_seconds"):
        room(lines).wait(lambda: {"CPU": 1.0}, lambda: 1)
