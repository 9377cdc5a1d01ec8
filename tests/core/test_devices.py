"""Devices and processes."""

import pytest
import torch

from augsynth.core import devices
from augsynth.core.cache import environment
from augsynth.core.devices import Process, autocast, fast_precision
from augsynth.core.errors import ConfigError


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    assert Process.current().device("cuda:1") == "cuda:1"
    assert Process.current().local_count == 1
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    process = Process.current()
    assert (process.rank, process.local_count) == (3, 2)
    assert (process.device("cuda"), process.device("cpu")) == ("cuda:1", "cpu")
    with pytest.raises(ConfigError, match=r"one GPU for 4 processes; say cuda"):
        process.device("cuda:0")


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fpu avx512f avx512_bf16 avx512vbmi", "bfloat16"),
        ("fpu amx_bf16 amx_tile", "bfloat16"),
        ("fpu avx512f avx512vbmi", "float32"),
        ("", "float32"),
    ],
)
def test_the_processor_chooses_the_precision(monkeypatch, tmp_path, flags, name):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name : any\nflags\t\t: {flags}\n")
    monkeypatch.setattr(devices, "Path", lambda _: cpuinfo)
    devices._multiplies_bfloat16.cache_clear()
    monkeypatch.setattr(devices, "_multiplies_bfloat16", devices._multiplies_bfloat16.__wrapped__)
    assert (fast_precision("cpu"), fast_precision("cuda")) == (name, "float32")
    assert environment()["cpu_precision"] == name, "what was computed in another precision is another's"
    layer = torch.nn.Linear(4, 4)
    with autocast("cpu"):
        assert layer(torch.ones(1, 4)).dtype == getattr(torch, name)
    assert layer.weight.dtype == layer(torch.ones(1, 4)).dtype == torch.float32
