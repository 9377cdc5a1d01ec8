"""Work that forked processes do."""

import os
from collections.abc import Callable

import pytest

from augsynth.core import processes
from augsynth.core.errors import BackendError
from augsynth.core.processes import can_fork, meanwhile, num_cores, on_all_cores

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
def test_another_process_works_meanwhile_where_there_is_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, is_other in ((2, True), (1, False)):
        monkeypatch.setattr(processes, "num_cores", lambda cores=cores: cores)
        with meanwhile(os.getpid, task="counting", remedy="count again") as result:
            assert (result() != os.getpid()) == is_other


@FORKS
def test_an_error_meanwhile_is_raised_where_the_result_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    with (
        meanwhile(lambda: 1 / 0, task="counting", remedy="count again") as result,
        pytest.raises(ZeroDivisionError),
    ):
        result()


def test_there_is_a_core() -> None:
    assert num_cores() >= 1
