"""Painting on a device with too little memory: smaller batches, then a clear stop."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from augsynth.core.errors import BackendError
from augsynth.inpainting.port import inpaint_in_room


class Small:
    """A model whose device has memory for a number of windows at once."""

    def __init__(self, room: int) -> None:
        self.name, self.room, self.batch_size, self.tried = "small", room, 8, list[int]()

    def inpaint(self, requests: Sequence[Any]) -> list[Any]:
        for low in range(0, len(requests), self.batch_size):
            batch = requests[low : low + self.batch_size]
            self.tried.append(len(batch))
            if len(batch) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [request.seed for request in requests]


REQUESTS: Any = [SimpleNamespace(seed=seed) for seed in range(6)]


def test_batches_are_halved_until_there_is_room() -> None:
    model = Small(2)
    assert inpaint_in_room(model, REQUESTS) == [0, 1, 2, 3, 4, 5]  # type: ignore[arg-type]
    assert model.tried == [6, 3, 1, 1, 1, 1, 1, 1] and model.batch_size == 1
    model.tried.clear()
    inpaint_in_room(model, REQUESTS[:2])  # type: ignore[arg-type]
    assert model.tried == [1, 1]  # it isn't tried again


def test_without_room_for_one_window_it_ends_in_a_line() -> None:
    model = Small(0)
    with pytest.raises(
        BackendError, match=r"^small: the device has no memory for one window; take a smaller --win"
    ):
        inpaint_in_room(model, REQUESTS)  # type: ignore[arg-type]
    assert model.tried == [6, 3, 1]
