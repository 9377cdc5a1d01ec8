"""A dry run draws the planned boxes, and leaves nothing that a run would trip over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from augsynth.core.records import Attempt
from augsynth.generation import dry_run as dry
from augsynth.generation import engine, run
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.dry_run import dry_run
from augsynth.generation.planning import PlannedWindow
from augsynth.generation.run_state import PLANNED_SHEET, check_output
from tests.generation.run_files import RANDOM, ignore, provenance
from tests.generation.test_stopping import paint_with


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


def test_the_plans_are_those_of_the_run(
    config: GenerateConfig, bare: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config.but(n=128, give_up_after=1, bank=False, originals="omit", **RANDOM)
    paint_with(monkeypatch, bare)
    monkeypatch.setattr(dry, "open_context", run.open_context)
    planned: list[PlannedWindow | Attempt] = []

    def plan_first(*given: Any, **named: Any) -> list[PlannedWindow | Attempt]:
        planned.extend(engine.plan_first(*given, **named))
        return planned

    monkeypatch.setattr(dry, "plan_first", plan_first)
    dry_run(asked.but(out=str(tmp_path / "dry")), progress=ignore)
    run.generate(asked.but(out=str(tmp_path / "out")), progress=ignore)
    lines = [line for line in provenance(tmp_path / "out") if line["slot"] == line["retry"] == 0]
    assert [line["job"] for line in lines[:48]] == [*range(48)], "three of eight shards of 16 new images"
    expected = [(line["reason"], line["category_id"], line.get("seed")) for line in lines[:48]]
    assert [told(plan) for plan in planned] == expected
    assert any(line["reason"] == "no_category" for line in lines[:16]), "some categories are given up"
    assert not any(told(planned[k])[0] == "no_category" for k in (16, 32)), "in a shard each begins anew"


def told(plan: PlannedWindow | Attempt) -> tuple[str, object, int | None]:
    if isinstance(plan, PlannedWindow):
        return "accepted", plan.category_id, plan.plan.seed
    return str(plan.reason), plan.category_id, None
