"""When a run ends, what it says, and that a stopped run goes on."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from augsynth import cli
from augsynth.core.errors import LowYieldError
from augsynth.core.records import NewImage, ShardRecord
from augsynth.core.scene import Image, Reason
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.run import generate
from augsynth.generation.statistics import CategoryYields, End, Tally
from augsynth.generation.stopping import ADVICE, find_end, shortfall_line
from augsynth.inpainting.port import InpaintRequest
from tests.generation.run_files import RANDOM, files_of, ignore, painted_attempt, provenance


class Painter:
    """Blanks each window whose prompt names one of some words, and leaves the others as they are."""

    name, size, cell, steps, guidance = "painter", 64, 4, 4, 1.0

    def __init__(self, *blanked: str) -> None:
        self.blanked = blanked

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[Image | None]:
        return [None if any(word in r.prompt for word in self.blanked) else r.image for r in requests]

    def samples_per_window(self, strength: float | None) -> int:
        return self.steps


@pytest.fixture
def quick(config: GenerateConfig, tmp_path: Path) -> GenerateConfig:
    return config.but(
        out=str(tmp_path / "out"), bank=False, originals="omit", n=100, max_attempts=180, **RANDOM
    )


def paint_with(monkeypatch: pytest.MonkeyPatch, bare: RunContext, *blanked: str) -> None:
    """Let runs paint with `Painter` instead of loading models."""

    def opened(config: GenerateConfig, dataset: object, **_: object) -> RunContext:
        chooser = replace(bare.placing.chooser, give_up_after=config.run.give_up_after)
        painting = replace(bare.painting, inpainter=Painter(*blanked))
        return replace(bare, placing=replace(bare.placing, chooser=chooser), painting=painting)

    monkeypatch.setattr("augsynth.generation.run.open_context", opened)


def test_a_category_that_never_passes_is_given_up_and_said(
    quick: GenerateConfig, bare: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint_with(monkeypatch, bare, "bottle")
    tally = generate(quick.but(n=80, give_up_after=4), progress=ignore)
    [bottle] = [c.id for c in bare.dataset.categories if c.name == "bottle"]
    assert tally.given_up == {bottle} and tally.accepted == 80 and tally.ended is End.ENOUGH
    assert tally.by_category[bottle].total() < 4 + 8  # a round is planned at once
    assert [n for n in tally.notices if "given up" in n] == [
        f"bottle is given up: {tally.by_category[bottle].total()} attempts, none accepted, mostly blank "
        "(give_up_after is 4)"
    ]
    out = Path(quick.output.out)
    assert json.loads((out / "summary.json").read_text())["given_up"] == ["bottle"]


def test_a_run_without_a_category_left_ends_and_says_why(
    quick: GenerateConfig, bare: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint_with(monkeypatch, bare, "a")
    tally = generate(quick.but(give_up_after=2, min_yield=0.0), progress=ignore)
    assert tally.ended is End.GIVEN_UP and tally.accepted == 0 and tally.attempts < 180
    line = shortfall_line(tally, Path(quick.output.out))
    assert line.startswith("100 objects short: no category is left") and "blank pictures" in line
    assert line.endswith("contact_sheet_rejected.png")


def test_a_run_with_a_low_yield_stops_for_a_decision_and_goes_on(
    quick: GenerateConfig, bare: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint_with(monkeypatch, bare, "a")
    out = Path(quick.output.out)
    asked = quick.but(give_up_after=0)
    with pytest.raises(LowYieldError, match=r"0 of 1\d\d attempts .*blank: the model returned .*min-yield 0"):
        generate(asked, progress=ignore)
    assert (out / "contact_sheet_rejected.png").is_file() and (out / "shards" / "00000.json").is_file()
    assert not (out / "annotations").exists() and not (out / "summary.json").exists()
    before = files_of(out / "shards")

    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("models are loaded though the run can't go on")

    with monkeypatch.context() as patch, pytest.raises(LowYieldError):
        patch.setattr("augsynth.generation.run.open_context", unwanted)
        generate(asked, progress=ignore)
    assert files_of(out / "shards") == before
    tally = generate(asked.but(min_yield=0.0), progress=ignore)
    assert tally.finished and tally.attempts == 180 == len(provenance(out)) and tally.ended is End.BUDGET


def test_the_command_ends_with_exit_code_3_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stopping(*_: object, **__: object) -> Tally:
        raise LowYieldError("stopped for your decision")

    monkeypatch.setattr("augsynth.generation.run.generate", stopping)
    monkeypatch.setattr("sys.argv", ["augsynth", "generate", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 3
    assert capsys.readouterr().err.splitlines()[-1] == "augsynth: stopped for your decision"


def test_full_quotas_end_a_run_without_further_attempts(
    quick: GenerateConfig, bare: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint_with(monkeypatch, bare)
    few = replace(bare.placing.chooser, quotas=dict.fromkeys(bare.placing.chooser.wanted_ids, 1))
    paint_with(monkeypatch, replace(bare, placing=replace(bare.placing, chooser=few)))
    tally = generate(quick, progress=ignore)
    assert tally.ended is End.QUOTAS and tally.accepted == len(few.wanted_ids)
    assert tally.attempts < 12 + 3 * 8
    assert shortfall_line(tally, Path(quick.output.out)).endswith(
        "the quotas of all categories are full, or all objects of --init-images are used up; add objects to that "
        "bank, or raise quotas"
    )


def test_every_reason_has_its_own_sentence_and_remedy(tmp_path: Path) -> None:
    assert set(ADVICE) == set(Reason) - {Reason.ACCEPTED}
    assert len({meaning for meaning, _ in ADVICE.values()}) == len(ADVICE)
    tally = Tally(5, accepted=1, attempts=20, reasons=Counter(low_iou=9, accepted=3, not_found=8))
    tally.ended = End.BUDGET
    line = shortfall_line(tally, tmp_path)
    assert line.startswith(
        "4 objects short: all 20 attempts are spent, 9 of them low_iou: objects weren't where"
    )
    assert "--min-iou" in line and "contact_sheet" not in line and "max-attempts" not in line
    (tmp_path / "contact_sheet_rejected.png").touch()
    assert shortfall_line(tally, tmp_path).endswith(str(tmp_path / "contact_sheet_rejected.png"))
    tally.reasons["accepted"] = 12
    assert "raise --max-attempts" in shortfall_line(tally, tmp_path)
    assert shortfall_line(Tally(5, accepted=5), tmp_path) == ""


def test_the_floor_holds_from_the_hundredth_attempt_on(config: GenerateConfig) -> None:
    run = config.but(n=50, max_attempts=400).run
    reasons = Counter(accepted=1)
    assert find_end(Tally(50, attempts=99, reasons=Counter()), run) is None
    assert find_end(Tally(50, attempts=100, reasons=reasons), run) is End.LOW_YIELD
    assert find_end(Tally(50, attempts=100, reasons=Counter(accepted=2)), run) is None
    assert find_end(Tally(50, attempts=400, reasons=reasons), run) is End.BUDGET


def test_one_accepted_object_keeps_a_category(bare: RunContext) -> None:
    chooser = replace(bare.placing.chooser, give_up_after=3)
    one, two, *_ = sorted(chooser.wanted_ids)
    yields = CategoryYields(Counter({one: 9, two: 9}), Counter({two: 1}))
    assert chooser.given_up(yields) == {one} and chooser.open_ids(yields) == chooser.wanted_ids - {one}
    assert not replace(chooser, give_up_after=0).given_up(yields)


def test_a_category_whose_accepted_objects_were_struck_out_is_kept(bare: RunContext) -> None:
    chooser = replace(bare.placing.chooser, give_up_after=3, quotas={})
    one, two, *_ = sorted(chooser.wanted_ids)
    lost = [painted_attempt(category_id=one).judged(vetoed=True)]
    lost += [painted_attempt(Reason.LOW_SCORE, category_id=c) for c in (one, one, one, two, two, two)]
    image = NewImage(job=0, file_name="a.png", source_image_id=7, size_wh=(48, 48), attempts=(), vetoed=(0,))
    tally = Tally(9)
    tally.add(ShardRecord(jobs=1, attempts=tuple(lost), images=(image,)))
    assert tally.vetoed == 1 and tally.accepted == 0
    assert chooser.given_up(tally.yields) == {two} and chooser.given_up(tally.yields.copy()) == {two}
    assert tally.yields.relative(one) > tally.yields.relative(two)
    assert one in replace(chooser, quotas={one: 1}).open_ids(tally.yields), "it uses up no quota"
