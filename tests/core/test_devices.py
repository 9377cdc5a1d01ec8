"""Devices and processes."""

import pytest

from augsynth.core.devices import Process
from augsynth.core.errors import ConfigError


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    assert Process.current().device("cuda:1") == "cuda:1"
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    process = Process.current()
    assert (process.rank, process.device("cuda"), process.device("cpu")) == (3, "cuda:1", "cpu")
    with pytest.raises(ConfigError, match=r"one GPU for 4 processes; say cuda"):
        process.device("cuda:0")
