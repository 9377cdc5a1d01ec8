"""The pictures that a training shows cost more than its few steps; they are painted in two steps here."""

from functools import partial

import pytest

from augsynth.inpainting import options


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "PaintingOptions", partial(options.PaintingOptions, steps=2))
