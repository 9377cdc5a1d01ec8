"""The report of a run: there while it goes on and when it is over, at a bounded cost, the same after a kill."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from augsynth.affinity.model import Affinity
from augsynth.core.errors import LowYieldError
from augsynth.core.records import Attempt, Decoy, NewImage, PlannedDecoy, ShardRecord
from augsynth.core.scene import Reason
from augsynth.generation import report
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.processes import DoneShard
from augsynth.generation.report import DOCUMENT, PAGE, RunReport
from augsynth.generation.report_values import Subject, Timed, count_cost
from augsynth.generation.run import generate as run_to_end
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.statistics import Tally
from tests.generation.fake_run import NUM, generate, without_models, write_source
from tests.generation.reporting.pages import dataset_of
from tests.generation.run_files import RANDOM, ignore, painted_attempt, provenance
from tests.generation.test_stopping import paint_with


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerateConfig:
    """Options of a run that paints one object a shard, without models."""
    config = write_source(tmp_path / "source")
    without_models(monkeypatch, config)
    return config


def data_of(out: Path) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', (out / PAGE).read_text("utf-8")
    )
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def document_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / DOCUMENT).read_text("utf-8"))
    return document


def test_every_attempt_of_a_run_is_in_its_report_under_its_number(run: tuple[Path, Tally]) -> None:
    lines, data, document = provenance(run[0]), data_of(run[0]), document_of(run[0])
    rows, texts = data["columns"], data["texts"]
    assert document["status"] == "finished" and document["attempts"] == len(lines) == len(rows["reason"])
    assert [texts["reasons"][k] for k in rows["reason"]] == [line["reason"] for line in lines]
    assert rows["kept"] == [int("annotation_id" in line) for line in lines]
    assert rows["seed"] == [str(line["seed"]) if "seed" in line else None for line in lines]
    painted = sum("score" in line for line in lines)
    assert sum(sheet["count"] for sheet in data["sheets"]) == painted
    assert sorted(cell for cell in rows["cell"] if cell is not None) == list(range(painted))
    assert all(box is None or min(box) > -500 for box in rows["planned"])
    assert any(rows["outline"])


def test_report_and_summary_agree(run: tuple[Path, Tally]) -> None:
    document, summary = document_of(run[0]), json.loads((run[0] / "summary.json").read_text())
    for key in ("wanted", "objects", "attempts", "images", "yield", "reasons"):
        assert document[key] == summary[key]
    for line, row in zip(document["categories"], summary["categories"], strict=True):
        assert (line["category"], line["attempts"], line["kept"]) == (
            row["category"],
            row["attempts"],
            row["kept"],
        )
    real = {row["category_id"]: row for row in summary["real_objects"]}
    for line in document["categories"]:
        scores = line["real_objects"].pop("scores")
        assert line["real_objects"] == real[line["category_id"]]
        assert len(scores) == line["real_objects"]["objects"] and all(0 <= score <= 1 for score in scores)
    assert document["cost"]["denoiser_samples_per_window"] > 8  # 8 steps, some of them with both branches
    assert document["models"][0]["licence"] == "apache-2.0"
    assert document["command"].startswith("augsynth generate --annotations ")


def test_a_run_that_goes_on_has_a_report_when_it_is_time(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    write = RunReport.write

    def noted(self: RunReport, shards: Any, tally: Tally, *, status: Any) -> None:
        write(self, shards, tally, status=status)
        assert document_of(tmp_path / "out")["status"] == status
        written.append((status, tally.attempts))

    monkeypatch.setattr(RunReport, "write", noted)
    monkeypatch.setattr(report, "EVERY_S", 0.0)
    monkeypatch.setattr(report, "MOST_SHARE", 1e9)
    generate(quick, tmp_path / "out")
    assert written == [("running", 1), ("running", NUM), ("finished", NUM)]


def test_reports_take_at_most_a_fiftieth_of_the_time(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of shards of two seconds each, with reports that take one second."""
    clock, busy = [0.0], [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: clock[0])
    made: list[RunReport] = []
    begin = RunReport.__init__

    def kept(self: RunReport, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        made.append(self)

    monkeypatch.setattr(RunReport, "__init__", kept)
    generate(quick, tmp_path / "out")

    def slow(*_: Any, **__: Any) -> bytes:
        clock[0] += 1
        busy[0] += 1
        return b""

    monkeypatch.setattr(report, "render_report", slow)
    tally, begun = Tally(3), clock[0]
    while clock[0] - begun < 3600:
        clock[0] += 2
        made[0].update([], tally)
    assert 3600 / 60 < busy[0] <= 0.02 * (clock[0] - begun)


def test_an_object_costs_what_its_processes_took_whoever_waited_for_whom() -> None:
    good = painted_attempt(job=0, source_image_id=1)
    bad = Attempt(job=1, source_image_id=1, reason=Reason.NO_REGION, slot=0, retry=0, category_id=1)
    timed = Timed(processes=2)
    for seconds, attempts in ((30.0, (good, bad)), (50.0, (good, good, bad)), (None, (good,))):
        timed = timed.with_shard(DoneShard(ShardRecord(jobs=1, attempts=attempts), seconds))
    assert timed == Timed(processes=2, seconds=80.0, attempts=5, accepted=3)


def test_decoys_are_windows_that_are_paid_for() -> None:
    plan = PlannedDecoy(
        planned_xyxy=(0, 0, 9, 9), window_xyxy=(0, 0, 9, 9), painted_xyxy=(0, 0, 9, 9), prompt="", seed=1
    )
    decoy = Decoy(
        job=0, source_image_id=1, slot=0, retry=0, like_category_id=1, reason=Reason.BLANK, plan=plan
    )
    unplaced = Decoy(job=0, source_image_id=1, slot=0, retry=1, like_category_id=1, reason=Reason.NO_REGION)
    image = NewImage(job=0, file_name="a.png", source_image_id=1, size_wh=(9, 9), attempts=(0,))
    shard = ShardRecord(
        jobs=1,
        attempts=(painted_attempt(job=0, source_image_id=1),),
        decoys=(decoy, unplaced),
        images=(image,),
    )
    tally = Tally(1)
    tally.add(shard)
    dataset = dataset_of()
    subject = Subject(dataset, Affinity.fit(dataset), (), 16)
    assert count_cost(subject, [shard], tally, Timed()).samples_each == 2 * 16


def test_a_sheet_is_drawn_once(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = report.draw_sheet

    def counted(pairs: Any, size: Any) -> Any:
        drawn.append(len(pairs))
        return draw(pairs, size)

    monkeypatch.setattr(report, "draw_sheet", counted)
    monkeypatch.setattr(report, "EVERY_S", 0.0)
    monkeypatch.setattr(report, "MOST_SHARE", 1e9)
    generate(quick, tmp_path / "out")
    assert drawn == [1] * NUM


def sizes_tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let every page be too heavy; return the list to which the sizes of sheets that are drawn are added."""
    tried: list[Any] = []
    draw = report.draw_sheet

    def noted(pairs: Any, size: Any) -> Any:
        tried.append(size)
        return draw(pairs, size)

    monkeypatch.setattr(report, "draw_sheet", noted)
    monkeypatch.setattr(report, "MOST_BYTES", 10)
    return tried


def test_a_page_that_would_be_too_heavy_gets_smaller_pictures(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = sizes_tried(monkeypatch)
    generate(quick, tmp_path / "out")
    assert tried == [size for size in report.TILE_SIZES for _ in range(NUM)]
    assert sum(sheet["count"] for sheet in data_of(tmp_path / "out")["sheets"]) == NUM


def test_pictures_that_were_too_large_are_not_drawn_again(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = sizes_tried(monkeypatch)
    monkeypatch.setattr(report, "EVERY_S", 0.0)
    monkeypatch.setattr(report, "MOST_SHARE", 1e9)
    generate(quick, tmp_path / "out")
    assert tried == [*report.TILE_SIZES, report.TILE_SIZES[-1]]


def test_what_a_page_can_not_show_is_counted_all_the_same(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_SHOWN", 1)
    generate(quick, tmp_path / "out")
    assert len(data_of(tmp_path / "out")["columns"]["reason"]) == 1
    assert document_of(tmp_path / "out")["attempts"] == NUM
    assert "The first 1 of 2 attempts are here" in (tmp_path / "out" / PAGE).read_text("utf-8")


def test_a_killed_run_ends_with_the_report_of_one_that_was_not(
    quick: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(quick, tmp_path / "whole")
    monkeypatch.setattr(report, "EVERY_S", 0.0)
    commit = RunFolder.commit

    def dying(self: RunFolder, index: int, *rest: Any, **named: Any) -> None:
        if index == 1:
            raise KeyboardInterrupt
        commit(self, index, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "commit", dying)
        with pytest.raises(KeyboardInterrupt):
            generate(quick, tmp_path / "cut")
    assert document_of(tmp_path / "cut")["status"] == "running"
    generate(quick, tmp_path / "cut")
    one, other = document_of(tmp_path / "whole"), document_of(tmp_path / "cut")
    assert one["cost"]["accepted_in_that_time"] == NUM and other["cost"]["accepted_in_that_time"] == NUM - 1
    assert "Timed: 1 of 2 attempts" in (tmp_path / "cut" / PAGE).read_text("utf-8")
    for document in (one, other):
        for key in ("written", "cost", "title"):
            del document[key]
    assert one == other
    pages = [data_of(tmp_path / name) for name in ("whole", "cut")]
    assert pages[0]["columns"] == pages[1]["columns"]


def test_a_run_that_stops_for_a_decision_has_its_report(
    config: GenerateConfig, bare: RunContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paint_with(monkeypatch, bare, "photo")
    asked = config.but(
        out=str(tmp_path / "out"), bank=False, originals="omit", n=100, give_up_after=0, **RANDOM
    )
    with pytest.raises(LowYieldError):
        run_to_end(asked, progress=ignore)
    document = document_of(tmp_path / "out")
    assert document["status"] == "stopped" and document["verdict"]["level"] == "stop"
    assert "stopped for your decision" in document["verdict"]["yield"]
