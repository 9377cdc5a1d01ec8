"""Sheets of samples: the source with the mask's edge beside the result, whose surroundings are the source's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augsynth.inpainting.port import InpaintRequest
from augsynth.training import samples
from augsynth.training.samples import write_reconstructions, write_samples
from augsynth.training.windows import Windows

SIZE, CELL = 16, 4


class Blue:
    """Paints blue everywhere, also outside the mask; blanks the last window."""

    size, cell = SIZE, CELL

    def inpaint(self, requests: list[InpaintRequest]) -> list[np.ndarray | None]:
        blue = np.full((SIZE, SIZE, 3), (0, 0, 255), np.uint8)
        return [blue] * (len(requests) - 1) + [None]


def windows(num: int) -> Windows:
    """Windows of grey 100, 101, … that show two kinds in turn; the inner four cells are masked."""
    cells = np.zeros((num, 4, 4), bool)
    cells[:, 1:3, 1:3] = True
    images = np.stack([np.full((SIZE, SIZE, 3), 100 + k, np.uint8) for k in range(num)])
    return Windows(images, cells, np.arange(num) % 2)


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is put on sheets, which are drawn, too."""
    found: list[dict[str, Any]] = []
    draw = samples.contact_sheet

    def drawn(tiles: Any, **named: Any) -> None:
        found.append({"tiles": tiles, **named})
        draw(tiles, **named)

    monkeypatch.setattr(samples, "contact_sheet", drawn)
    return found


def test_up_to_four_windows_a_prompt_stand_beside_what_became_of_them(
    sheets: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "new" / "samples-000250.png"
    write_samples(Blue(), windows(10), ["a cup", "a lid", "a box"], path)
    [sheet] = sheets
    assert path.is_file() and sheet["captions"] == ["a cup"] * 4 + ["a lid"] * 4
    assert sheet["title"].startswith("samples-000250: real window with the hole")
    greys = [100, 102, 104, 106, 101, 103, 105, 107]
    for k, ((source, result), grey) in enumerate(zip(sheet["tiles"], greys, strict=True)):
        assert (source[0] == grey).all() and (source[4, 4:12] == (255, 0, 0)).all()
        assert (source[5:11, 5:11] == grey).all()
        painted = (0, 0, 255) if k < 7 else (0, 0, 0)
        assert (result[4:12, 4:12] == painted).all() and (result[:4] == grey).all()


def test_without_windows_there_is_no_sheet(tmp_path: Path) -> None:
    write_samples(Blue(), windows(4), [], tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_reconstructions_stand_beside_their_windows(sheets: list[dict[str, Any]], tmp_path: Path) -> None:
    from types import SimpleNamespace

    def encode(pixels):  # type: ignore[no-untyped-def]
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=pixels))

    darker = SimpleNamespace(
        device="cpu", encode=encode, decode=lambda latents: SimpleNamespace(sample=latents - 20 / 127.5)
    )
    write_reconstructions(darker, windows(16), tmp_path / "sheet.png")
    [sheet] = sheets
    pairs = np.array(sheet["tiles"]).astype(int)
    assert pairs.shape == (16, 2, SIZE, SIZE, 3) and "latents and back" in sheet["title"]
    assert abs(pairs[:, 0] - pairs[:, 1] - 20).max() <= 1
    assert {*np.unique(pairs[:, 0])} == set(range(100, 116))
