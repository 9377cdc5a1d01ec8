"""Work that forked processes do."""

import multiprocessing
import os
import signal
from collections.abc import Callable

import pytest

from augsynth.core import processes
from augsynth.core.errors import BackendError
from augsynth.core.processes import begun, can_fork, num_cores, on_all_cores

FORKS = pytest.mark.skipif(not can_fork(), reason="no processes are forked here")


def found(work: Callable[[int], object], values: list[int]) -> list[object]:
    return list(on_all_cores(work, values, task="counting", remedy="count again"))


@FORKS
def test_what_processes_find_comes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    results = found(lambda value: (value**2, os.getpid()), [3, 1, 2, 5])
    assert [square for square, _ in results] == [9, 1, 4, 25]
    assert os.getpid() not in {process for _, process in results}


@pytest.mark.parametrize(("cores", "values"), [(1, [3, 1, 2]), (8, [4]), (8, [])])
def test_one_core_or_one_value_needs_no_other_process(
    cores: int, values: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: cores)
    assert found(lambda value: (value, os.getpid()), values) == [(value, os.getpid()) for value in values]


@FORKS
def test_an_ended_process_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    with pytest.raises(BackendError, match=r"a counting process was ended.*count again"):
        found(lambda value: os._exit(1), [1, 2])


@FORKS
def test_an_error_of_the_work_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        found(lambda value: 1 / value, [1, 0])


@FORKS
def test_tasks_are_done_by_other_processes_meanwhile_and_here_where_none_may_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, elsewhere, is_own in ((2, True, False), (2, False, True), (1, True, True)):
        monkeypatch.setattr(processes, "num_cores", lambda cores=cores: cores)
        tasks = [os.getpid, lambda: "second"]
        with begun(tasks, task="counting", remedy="count again", elsewhere=elsewhere) as found:
            first, second = found
        assert (first == os.getpid(), second) == (is_own, "second")


@FORKS
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_task_that_fails_does_so_where_its_result_is_asked_for(
    elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    tasks: list[Callable[[], float]] = [lambda: 1, lambda: 1 / 0]
    with begun(tasks, task="counting", remedy="count again", elsewhere=elsewhere) as found:
        assert next(found) == 1
        with pytest.raises(ZeroDivisionError):
            next(found)


@FORKS
def test_a_task_whose_process_is_ended_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    with (
        pytest.raises(
            BackendError, match="a counting process was ended, perhaps for want of memory; count again"
        ),
        begun([lambda: os.kill(os.getpid(), signal.SIGKILL)], task="counting", remedy="count again") as found,
    ):
        next(found)


@FORKS
def test_a_daemon_forks_nothing() -> None:
    """As a worker of a data loader is: Python lets it have no children."""
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert (can_fork(), pool.apply(can_fork)) == (True, False)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can't be taken away here")
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    assert num_cores() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
