"""Torch devices, checked before work begins."""

from __future__ import annotations

from augsynth.errors import ConfigError


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
