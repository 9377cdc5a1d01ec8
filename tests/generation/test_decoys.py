"""Decoys: repainted, without a label, only where nothing is, and undone where something shows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from augsynth.bank.cutting import CutRules
from augsynth.bank.reader import Bank
from augsynth.commands.bank import build_bank
from augsynth.commands.progress import summary_lines
from augsynth.core.boxes import intersections
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.records import ShardRecord
from augsynth.core.scene import Detections, Image, Placement, Plan, Reason, Scene
from augsynth.filtering.judge import FilterRules, Thresholds, judge_decoy
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.engine import paint_decoys, paint_shard
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.run import Tally, generate
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.statistics import CategoryYields
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.port import Inpainter, InpaintRequest
from augsynth.inpainting.prompts.book import BACKGROUND_PROMPT
from augsynth.pasting.init_images import InitImages
from augsynth.sample import write_sample
from tests.generation.run_files import files_of, written_to


def ignore(stage: str, tally: Tally) -> None:
    pass


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerateConfig:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=8, seed=5, workers=1)
    return GenerateConfig.of(
        n=3,
        annotations=str(root / "annotations" / "instances.json"),
        images=str(root / "images"),
        model="embedded",
        detector="embedded",
        guidance=2.0,
        objects_per_image=1,
        steps=4,
        bank=True,
        # What the embedded models are worth is for the benchmarks to say: here nearly everything passes.
        min_score=0.05,
        min_iou=0.1,
    )


@pytest.fixture(scope="module")
def bare(config: GenerateConfig) -> RunContext:
    """A run's context without a filter."""
    return open_context(*open_dataset(config.but(filter="off", steps=2, masks="off")))


def with_loop(context: RunContext, **options: object) -> RunContext:
    return replace(context, loop=replace(context.loop, **options))


def with_inpainter(context: RunContext, inpainter: object, **parts: object) -> RunContext:
    return replace(context, painting=replace(context.painting, inpainter=inpainter, **parts))


def paint(context: RunContext, out: Path, *, num: int = 2) -> tuple[ShardRecord, list[Image]]:
    jobs = list(enumerate(context.dataset.scenes[:num]))
    shard = paint_shard(
        context, jobs, wanted=num, budget=9, before=CategoryYields(), write_image=written_to(out)
    ).record
    return shard, [np.asarray(PilImage.open(out / new.file_name)) for new in shard.images]


def test_only_free_pixels_of_new_images_change_and_nothing_else(bare: RunContext, tmp_path: Path) -> None:
    plain, before = paint(bare, tmp_path / "plain")
    shard, after = paint(with_loop(bare, decoys=2.0), tmp_path / "decoys")
    assert plain.decoys == () and sum(d.accepted for d in shard.decoys) == 2 * len(after) == 4
    assert shard.attempts == plain.attempts and shard.images == plain.images
    for new, one, two in zip(shard.images, before, after, strict=True):
        scene = next(s for s in bare.dataset.scenes if s.image_id == new.source_image_id)
        objects = [shard.attempts[number].painted.label_xyxy for number in new.attempts]
        taken = np.vstack([scene.boxes_xyxy, *objects])
        changed = (one != two).any(-1)
        for decoy in (d for d in shard.decoys if d.job == new.job):
            assert decoy.plan is not None and decoy.plan.prompt == BACKGROUND_PROMPT
            box = np.array(decoy.plan.painted_xyxy, np.float64)
            assert not intersections(box[None], taken).any()
            taken = np.vstack([taken, box])  # nor does one decoy lie on another
            x1, y1, x2, y2 = decoy.plan.painted_xyxy
            assert changed[y1:y2, x1:x2].any()
            changed[y1:y2, x1:x2] = False
        assert not changed.any()


def test_the_same_seed_gives_the_same_decoys_and_another_does_not(bare: RunContext, tmp_path: Path) -> None:
    one, two, other = (
        paint(with_loop(bare, decoys=1.0, seed=seed), tmp_path / name, num=1)
        for name, seed in (("one", 42), ("two", 42), ("other", 43))
    )
    assert one[0].decoys == two[0].decoys and np.array_equal(one[1], two[1])
    assert one[0].decoys != other[0].decoys


def image_of(context: RunContext, *, job: int = 0, crowd: bool = False) -> WorkingImage:
    """A new image with one new object, and where asked for with a crowd all over it."""
    source = context.dataset.scenes[0]
    if crowd:
        box = np.array([[0.0, 0.0, *source.size_wh]])
        one = np.ones(1, np.int64)
        source = Scene(source.image_id, source.file_name, source.size_wh, box, one, one, one.astype(bool))
    scene = source.adding(np.array([2.0, 2.0, 22.0, 22.0]), category_id=1, annotation_id=-1)
    return WorkingImage(job, source, scene, read_image(context.dataset, source), accepted=(0,))


class Blanking:
    """Paints nothing and keeps what it was asked for."""

    name = "blanking"

    def __init__(self, like: Inpainter) -> None:
        self.size, self.cell, self.asked = like.size, like.cell, list[InpaintRequest]()

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[None]:
        self.asked.extend(requests)
        return [None] * len(requests)


def test_there_are_as_many_as_asked_for_on_average(bare: RunContext) -> None:
    inpainter = Blanking(bare.painting.inpainter)
    context = with_loop(with_inpainter(bare, inpainter), decoys=0.25, retries=1)
    uniform = replace(context.placing.rules, placement="uniform")
    context = replace(context, placing=replace(context.placing, rules=uniform))
    images = [image_of(context, job=job) for job in range(200)]
    after, records = paint_decoys(context, images)
    assert 30 <= len(records) <= 70 and {r.reason for r in records} == {Reason.BLANK}
    assert all(one.pixels is two.pixels for one, two in zip(images, after, strict=True))
    assert all(request.change is None for request in inpainter.asked)


def test_where_objects_start_from_init_images_decoys_start_from_what_is_there(
    bare: RunContext, config: GenerateConfig, tmp_path: Path
) -> None:
    data = config.data
    build_bank(Path(data.annotations), Path(data.images), tmp_path / "bank", rules=CutRules())
    inpainter = Blanking(bare.painting.inpainter)
    init_images = InitImages.open(str(tmp_path / "bank"), bare.dataset.categories)
    context = with_inpainter(bare, inpainter, strength=0.3)
    context = replace(context, placing=replace(context.placing, init_images=init_images))
    paint_decoys(with_loop(context, decoys=1.0), [image_of(bare)])
    assert inpainter.asked
    for request in inpainter.asked:
        assert request.change is not None and request.change.max() == pytest.approx(0.6, abs=0.05)


def test_where_there_is_no_room_there_is_no_decoy(bare: RunContext) -> None:
    image = image_of(bare, crowd=True)
    [after], records = paint_decoys(with_loop(bare, decoys=1.0), [image])
    assert [r.reason for r in records] == [Reason.NO_REGION] * bare.loop.retries
    assert after is image


def test_a_decoy_that_shows_an_object_is_undone_and_tried_elsewhere(bare: RunContext) -> None:
    image = image_of(bare)
    original = image.pixels

    class Suspicious:
        """Finds an object wherever the image isn't what it was."""

        name, view_px = "suspicious", max(image.source.size_wh)

        def detect(self, images: Sequence[Image]) -> list[Detections]:
            return [self.find(*np.nonzero((image != original).any(-1))) for image in images]

        def find(self, rows: np.ndarray, columns: np.ndarray) -> Detections:
            if not len(rows):
                return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
            box = [columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0]
            return Detections(np.array([box]), np.array([0.9]), np.array([1]))

    judging = replace(bare.judging, detector=Suspicious(), thresholds=Thresholds(0.5))
    [after], records = paint_decoys(with_loop(replace(bare, judging=judging), decoys=1.0), [image])
    assert [r.reason for r in records] == [Reason.EXTRA_OBJECT] * bare.loop.retries
    assert len({r.plan.planned_xyxy for r in records if r.plan}) == len(records)
    assert after.pixels is original and after.painted == ()


MASK, WINDOW = (50.0, 50.0, 80.0, 90.0), (35, 35, 125, 125)
NEIGHBOUR = (90.0, 50.0, 110.0, 80.0)


def found(*rows: tuple[tuple[float, float, float, float], float]) -> Detections:
    boxes = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    return Detections(boxes, np.array([row[1] for row in rows]), np.ones(len(rows), np.int64))


def verdict(before: Detections, after: Detections, scene: Scene | None = None) -> Reason:
    plan = Plan(Placement(1, np.array(MASK), None, 0.0), np.array(WINDOW), np.array(MASK), "background", 1)
    return judge_decoy(
        plan,
        before=before,
        after=after,
        scene=scene or Scene(1, "a.png", (200, 150)),
        thresholds=Thresholds(0.4),
        rules=FilterRules(),
    )


def test_what_is_detected_on_a_decoy_and_was_not_there_speaks_against_it() -> None:
    assert verdict(found(), found()) is Reason.ACCEPTED
    assert verdict(found(), found((MASK, 0.9))) is Reason.EXTRA_OBJECT
    assert verdict(found(), found((MASK, 0.25))) is Reason.EXTRA_OBJECT  # doubt is enough
    assert verdict(found(), found((MASK, 0.15))) is Reason.ACCEPTED
    assert verdict(found((MASK, 0.1)), found((MASK, 0.9))) is Reason.EXTRA_OBJECT
    assert verdict(found((MASK, 0.6)), found((MASK, 0.9))) is Reason.ACCEPTED  # nothing new
    assert verdict(found(), found(((140.0, 10.0, 180.0, 50.0), 0.9))) is Reason.ACCEPTED  # far away


def test_neighbours_of_a_decoy_must_still_be_found() -> None:
    scene = Scene(1, "a.png", (200, 150)).adding(np.array(NEIGHBOUR), category_id=1, annotation_id=1)
    assert verdict(found((NEIGHBOUR, 0.7)), found((NEIGHBOUR, 0.7)), scene) is Reason.ACCEPTED
    assert verdict(found((NEIGHBOUR, 0.7)), found(), scene) is Reason.LOST_NEIGHBOUR
    assert verdict(found(), found((NEIGHBOUR, 0.7)), scene) is Reason.ACCEPTED  # annotated, so not new


def test_the_number_of_decoys_is_checked() -> None:
    with pytest.raises(ConfigError, match="decoys"):
        GenerateConfig.of(decoys=4.5)


def test_a_run_with_decoys_has_the_same_labels_and_bank_even_when_it_was_killed(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "decoys"
    generate(config.but(out=str(plain)), progress=ignore)
    commit: Callable[..., None] = RunFolder.commit

    def dying(self: RunFolder, index: int, record: object, **rest: object) -> None:
        commit(self, index, record, **rest)
        raise KeyboardInterrupt

    wanted = config.but(out=str(out), decoys=1.5)
    monkeypatch.setattr(RunFolder, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(wanted, progress=ignore)
    monkeypatch.setattr(RunFolder, "commit", commit)
    tally = generate(wanted, progress=ignore)

    lines = [json.loads(line) for line in (out / "decoys.jsonl").read_text().splitlines()]
    kept = sum(line["reason"] == "accepted" for line in lines)
    assert sum(tally.decoys.values()) == len(lines) and tally.decoys["accepted"] == kept > 0
    assert any(line.startswith(f"decoys: {kept} ") for line in summary_lines(tally, out))
    assert all((out / "images" / line["file_name"]).is_file() for line in lines)
    before, after = files_of(plain), files_of(out)
    other = {name for name in after if after[name] != before.get(name)} - {
        "bank/index.npy",  # features of the surroundings, which decoys change
        "config.yaml",
        "run.json",
        "shards/00000.json",
        "summary.json",
    }
    assert other == {"decoys.jsonl"} | {
        f"images/{line['file_name']}" for line in lines if line["reason"] == "accepted"
    }
    for one, two in zip(Bank.open(plain / "bank"), Bank.open(out / "bank"), strict=True):
        assert np.array_equal(one.image, two.image) and np.array_equal(one.alpha, two.alpha)
