"""A dry run draws the planned boxes, and leaves nothing that a run would trip over."""

from pathlib import Path

import numpy as np
from PIL import Image

from augsynth.generation.config import GenerateConfig
from augsynth.generation.dry_run import dry_run
from augsynth.generation.run_state import PLANNED_SHEET, check_output
from tests.generation.run_files import RANDOM, ignore


def test_only_the_sheet_is_written(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = dry_run(config.but(out=str(out), n=5, **RANDOM), progress=ignore)
    assert [path.name for path in out.rglob("*")] == [PLANNED_SHEET]
    assert told.planned.total() + told.without.total() == 5 and told.planned.total() > 0
    assert told.lines()[0].startswith(f"{told.planned.total()} of the first 5 attempts have a place")
    assert told.document()["sheet"] == str(out / PLANNED_SHEET)
    check_output(out)  # a run may begin here
    pixels = np.asarray(Image.open(out / PLANNED_SHEET)).astype(int)
    blue = (abs(pixels - (30, 90, 200)).sum(axis=-1) < 30).sum()
    assert blue > 400, "windows and boxes are outlined"
