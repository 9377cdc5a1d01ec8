"""Sheets of samples: the source with the mask's edge above the result, whose surroundings are the source's."""

from pathlib import Path

import numpy as np
from PIL import Image

from augsynth.inpainting.port import InpaintRequest
from augsynth.training.samples import write_reconstructions, write_samples
from augsynth.training.windows import Windows

SIZE, CELL = 16, 4
PLACE = SIZE + 2


class Blue:
    """Paints blue everywhere, also outside the mask; blanks the last window."""

    size, cell = SIZE, CELL

    def inpaint(self, requests: list[InpaintRequest]) -> list[np.ndarray | None]:
        self.prompts = [request.prompt for request in requests]
        blue = np.full((SIZE, SIZE, 3), (0, 0, 255), np.uint8)
        return [blue] * (len(requests) - 1) + [None]


def windows(num: int) -> Windows:
    """Windows of grey 100, 101, … that show two kinds in turn; the inner four cells are masked."""
    cells = np.zeros((num, 4, 4), bool)
    cells[:, 1:3, 1:3] = True
    images = np.stack([np.full((SIZE, SIZE, 3), 100 + k, np.uint8) for k in range(num)])
    return Windows(images, cells, np.arange(num) % 2)


def test_up_to_four_windows_a_prompt_stand_above_what_became_of_them(tmp_path: Path) -> None:
    painter = Blue()
    write_samples(painter, windows(10), ["a cup", "a lid", "a box"], tmp_path / "new" / "sheet.png")
    assert painter.prompts == ["a cup"] * 4 + ["a lid"] * 4
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))[::2, ::2]
    assert sheet.shape == (2 * PLACE, 8 * PLACE, 3)
    for column, grey in enumerate([100, 102, 104, 106, 101, 103, 105, 107]):
        x = column * PLACE
        source, result = sheet[:SIZE, x : x + SIZE], sheet[PLACE : PLACE + SIZE, x : x + SIZE]
        assert (source[0] == grey).all() and (source[4, 4:12] == (255, 0, 0)).all()
        assert (source[5:11, 5:11] == grey).all()
        painted = (0, 0, 255) if column < 7 else (0, 0, 0)
        assert (result[4:12, 4:12] == painted).all() and (result[:4] == grey).all()


def test_without_windows_there_is_no_sheet(tmp_path: Path) -> None:
    write_samples(Blue(), windows(4), [], tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_reconstructions_stand_below_their_windows(tmp_path: Path) -> None:
    from types import SimpleNamespace

    def encode(pixels):  # type: ignore[no-untyped-def]
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=pixels))

    darker = SimpleNamespace(
        device="cpu", encode=encode, decode=lambda latents: SimpleNamespace(sample=latents - 20 / 127.5)
    )
    write_reconstructions(darker, windows(16), tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))[::2, ::2].astype(int)
    assert sheet.shape == (4 * SIZE, 8 * SIZE, 3)
    first, made, second, made_too = np.split(sheet, 4)
    assert abs(first - made - 20).max() <= 1 and abs(second - made_too - 20).max() <= 1
    assert {*np.unique(first), *np.unique(second)} == set(range(100, 116))
