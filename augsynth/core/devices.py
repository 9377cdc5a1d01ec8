"""Torch devices, checked before work begins, and which of several processes this is."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from augsynth.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Process:
    """One of the processes that a launcher started for the same work (`accelerate launch`, `torchrun`).

    Attributes:
        rank: Which it is; the first is 0.
        count: How many there are.
        local_rank: Which it is on its machine.
        local_count: How many are on its machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @classmethod
    def current(cls) -> Process:
        """Return this process, as the launcher's environment variables have it; alone without a launcher."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, count, local_rank, local_count = (int(os.environ.get(name) or 0) for name in names)
        return cls(rank, count, local_rank, max(1, local_count)) if count > 1 else cls()

    @staticmethod
    def has_others() -> bool:
        """Say whether a launcher started others beside this process: torchrun, accelerate or srun."""
        return Process.current().count > 1 or int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1

    def device(self, device: str) -> str:
        """Return the device of this process: `cuda` is a GPU for each.

        Raises:
            ConfigError: It names one GPU, and there are several processes.
        """
        if self.count == 1 or not device.startswith("cuda"):
            return device
        if device != "cuda":
            raise ConfigError(f"device {device!r} is one GPU for {self.count} processes; say cuda")
        return f"cuda:{self.local_rank}"


def fast_precision(device: str) -> Literal["float32", "bfloat16"]:
    """Return the precision to paint and detect in: bfloat16 on CPUs that multiply it in hardware, elsewhere float32.

    These are AMD's from Zen 4 on (2022) and Intel's Xeons with AVX-512 BF16 or AMX (2023). What it brings is in
    benchmarks/README.md, "Time and yield", labels in both precisions under "Labels".
    """
    return "bfloat16" if device == "cpu" and _multiplies_bfloat16() else "float32"


def autocast(device: str) -> AbstractContextManager[Any]:
    """Compute in the precision of `fast_precision`; weights stay as they are."""
    import torch

    dtype = getattr(torch, fast_precision(device))
    return torch.autocast("cpu", dtype=dtype) if dtype != torch.float32 else nullcontext()


@lru_cache(maxsize=1)
def _multiplies_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def check_device(device: str) -> None:
    """Put one number on the device, so that a wrong one is known before anything is read.

    Raises:
        ConfigError: Torch doesn't know the device, or this machine hasn't got it.
    """
    if device == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises differs with how it was built
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"device {device!r} can't be used ({why}); choose cpu, or cuda with a GPU"
        ) from error
