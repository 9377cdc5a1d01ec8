"""The bank of a run: which pixels an object gets, and which are undone first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from augsynth.bank.reader import Bank, Cutout
from augsynth.core.images import write_image
from augsynth.core.masks import to_rle
from augsynth.core.records import Attempt, Decoy, NewImage, ObjectMask, PlannedDecoy, Rle, ShardRecord
from augsynth.core.scene import Category, Dataset, Image, Reason, Scene
from augsynth.generation.export_bank import cut_image, write_bank
from augsynth.generation.statistics import Tally
from tests.generation.run_files import painted_attempt, provenance


def test_the_bank_holds_what_was_accepted(run: tuple[Path, Tally], source: Path) -> None:
    out, _ = run
    bank = Bank.open(out / "bank")
    kept = sorted(
        (a for a in provenance(out) if "annotation_id" in a), key=lambda a: int(str(a["annotation_id"]))
    )
    assert bank.category_ids.tolist() == [a["category_id"] for a in kept]
    assert bank.scores.tolist() == [a["score"] for a in kept]
    for cutout, attempt in zip(bank, kept, strict=True):
        image = np.asarray(PilImage.open(out / "images" / str(attempt["file_name"])))
        x1, y1 = np.asarray(attempt["box_xyxy"])[:2] - cutout.box_xyxy[:2]
        height, width = cutout.alpha.shape
        x, y = round(x1), round(y1)
        assert (image[y : y + height, x : x + width] == cutout.image).all()
        assert cutout.source_size_wh == (image.shape[1], image.shape[0])
        assert (cutout.alpha > 127).sum() > 0.2 * np.prod(cutout.box_xyxy[2:] - cutout.box_xyxy[:2])


SIZE = (80, 60)


def drawn(*boxes: tuple[int, int, int, int]) -> Image:
    """A grey picture with a white rectangle for each box."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


ONE, TWO = (10, 10, 30, 30), (36, 20, 56, 40)


def cut(*attempts: Attempt, after: Image, before: Image | None = None) -> list[Cutout]:
    boxes = np.array([attempt.painted.label_xyxy for attempt in attempts], np.float64)
    around = boxes + np.array([-2, -2, 2, 2])
    return list(cut_image(drawn() if before is None else before, after, attempts, painted_xyxy=around))


def test_an_object_is_cut_without_its_neighbours() -> None:
    one, two = (painted_attempt(box_xyxy=tuple(map(float, box))) for box in (ONE, TWO))
    first, second = cut(one, two, after=drawn(ONE, TWO))
    for cutout, box in ((first, ONE), (second, TWO)):
        height, width = cutout.alpha.shape
        x1, y1 = np.array(box[:2]) - cutout.box_xyxy[:2].astype(int)
        alone = drawn(box)[y1 : y1 + height, x1 : x1 + width]
        assert np.array_equal(cutout.image, alone), "what was painted for the other one is undone"
        assert cutout.category_id == 1 and cutout.score == 0.9 and cutout.source_size_wh == SIZE


def test_a_known_mask_is_the_opacity_and_without_one_matting_looks() -> None:
    mask = np.zeros((SIZE[1], SIZE[0]), bool)
    mask[12:28, 12:28] = True
    box = tuple(map(float, ONE))
    known = painted_attempt(box_xyxy=box, mask=ObjectMask("matting", Rle(**to_rle(mask))))
    [cutout] = cut(known, after=drawn(ONE))
    x1, y1 = np.array(ONE[:2]) - cutout.box_xyxy[:2].astype(int)
    part = mask[y1 : y1 + cutout.alpha.shape[0], x1 : x1 + cutout.alpha.shape[1]]
    assert cutout.has_mask and ((cutout.alpha > 127) == part).mean() > 0.95
    [whole] = cut(painted_attempt(box_xyxy=box), after=drawn(ONE), before=drawn(ONE))
    inside = whole.box_xyxy.astype(int)
    assert not whole.has_mask, "nothing changed, so there is no outline"
    assert (whole.alpha[inside[1] : inside[3], inside[0] : inside[2]] == 255).all()


def test_what_replaced_an_object_has_no_outline() -> None:
    box = tuple(map(float, ONE))
    replaced = painted_attempt(box_xyxy=box, replaced_annotation_id=3, replaced_category_id=2)
    [cutout] = cut(replaced, after=drawn(ONE))
    assert not cutout.has_mask


def test_the_bank_holds_kept_objects_without_decoys(tmp_path: Path) -> None:
    scene = Scene(7, "a.png", SIZE)
    write_image(tmp_path / "source" / "a.png", drawn())
    dataset = Dataset((Category(1, "cup"),), (scene,), {}, tmp_path / "a.json", tmp_path / "source")
    write_image(tmp_path / "images" / "b.png", drawn(ONE, TWO))
    decoy = Decoy(
        job=0,
        source_image_id=7,
        slot=0,
        retry=0,
        like_category_id=1,
        reason=Reason.ACCEPTED,
        plan=PlannedDecoy(
            planned_xyxy=tuple(map(float, TWO)),
            window_xyxy=(30, 10, 62, 42),
            painted_xyxy=TWO,
            prompt="background",
            seed=1,
        ),
    )
    attempts = (
        painted_attempt(Reason.LOW_SCORE, box_xyxy=tuple(map(float, TWO))),
        painted_attempt(box_xyxy=tuple(map(float, ONE)), window_xyxy=(4, 4, 36, 36)),
    )
    new = NewImage(job=0, file_name="b.png", source_image_id=7, size_wh=SIZE, attempts=(1,))
    shard = ShardRecord(jobs=1, attempts=attempts, decoys=(decoy,), images=(new,))
    write_bank(tmp_path, dataset, [shard], source={"seed": 42, "model": "m"})
    [cutout] = Bank.open(tmp_path / "bank")
    assert cutout.category_id == 1 and cutout.score == pytest.approx(0.9)
    again = (tmp_path / "bank" / "index.npy").read_bytes()
    write_bank(tmp_path, dataset, [shard], source={"seed": 42, "model": "m"})
    assert (tmp_path / "bank" / "index.npy").read_bytes() == again
    manifest = next((tmp_path / "bank").glob("*.json")).read_text()
    assert '"seed": 42' in manifest and '"made_by": "augsynth generate"' in manifest
