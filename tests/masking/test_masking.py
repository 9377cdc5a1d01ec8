"""Masks for painted objects: who finds them, what is written, and what stays as it was without them."""

import functools
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from augsynth import cli
from augsynth.bank.reader import Bank
from augsynth.commands.progress import summary_lines
from augsynth.core.boxes import ious
from augsynth.core.devices import autocast
from augsynth.core.errors import ConfigError
from augsynth.core.masks import as_rle, decoded
from augsynth.core.scene import Category, Dataset
from augsynth.detectors.ensemble import EnsembleDetector
from augsynth.detectors.folder import DetectorConfig
from augsynth.detectors.loading import EMBEDDED_DETECTOR, load_detector
from augsynth.detectors.port import Detector, has_masks
from augsynth.detectors.torchvision import TorchvisionDetector, to_tensor
from augsynth.generation.config import GenerateConfig
from augsynth.generation.loading import open_dataset, open_outliner
from augsynth.generation.run import Tally, generate
from augsynth.masking.segmenter import Segmenter
from augsynth.masking.sources import DetectorOutlines, MattingOutlines, PaintedObject, SegmenterOutlines
from augsynth.sample import render_scene, write_sample
from tests.tiny_segmenters import tiny_mask_rcnn, write_mask2former, write_sam

CATEGORIES = [Category(7, "can"), Category(3, "jar")]


def ignore(stage: str, tally: Tally) -> None:
    pass


def pictures(num: int = 3) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (64, 30), (50, 50), (33, 71), (64, 64), (20, 40)]
    return [rng.integers(0, 256, (*sizes[k], 3), dtype=np.uint8) for k in range(num)]


@functools.cache
def boxes_only() -> str:
    """The embedded detector without its mask head."""
    folder = Path(tempfile.mkdtemp()) / "detector"
    shutil.copytree(EMBEDDED_DETECTOR, folder, ignore=shutil.ignore_patterns("mask_head*"))
    return str(folder)


# --- mask heads ----------------------------------------------------------------------------------------------


def mask_rcnn(**changes: object) -> TorchvisionDetector:
    config = DetectorConfig("maskrcnn_resnet50_fpn", tuple(CATEGORIES), view_px=96)
    return TorchvisionDetector(
        tiny_mask_rcnn(2),
        replace(config, **changes),
        name="tiny",
        category_of_label={0: 7, 1: 3},
        min_score=0.0,
    )


def test_the_masks_of_mask_rcnn_are_torchvisions() -> None:
    import torch

    detector = mask_rcnn()
    assert has_masks(detector) and not has_masks(load_detector(boxes_only(), sample_categories()))
    image = pictures(1)[0]
    [found], [plain] = detector.detect_masks([image]), detector.detect([image])
    with torch.no_grad(), autocast("cpu"):
        output = tiny_mask_rcnn(2).eval()([to_tensor(image)])[0]
    assert found.masks is not None and found.masks.shape == (len(found), 40, 60) and len(found) > 3
    assert plain.masks is None and (plain.boxes_xyxy == found.boxes_xyxy).all()
    order = np.argsort(-np.round(output["scores"].float().numpy().astype(np.float64), 4), kind="stable")
    assert (found.masks == (output["masks"][order, 0].float() > 0.5).numpy()).all() and found.masks.any()


def test_masks_have_the_size_of_the_image_whatever_the_network_sees() -> None:
    image = pictures(1)[0]
    found = mask_rcnn(image_scale=2.0).detect_masks([image])[0]
    assert found.masks is not None and found.masks.shape[1:] == (40, 60)
    for box, mask in zip(found.boxes_xyxy, found.masks, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert columns.min() >= box[0] - 1.5 and columns.max() + 1 <= box[2] + 1.5
            assert rows.min() >= box[1] - 1.5 and rows.max() + 1 <= box[3] + 1.5


def test_mask2former_finds_boxes_around_its_masks(tmp_path: Path) -> None:
    folder = write_mask2former(tmp_path / "m2f", ["jar", "can", "table"])
    detector = load_detector(folder, CATEGORIES, min_score=0.0)
    assert has_masks(detector)
    images = pictures(2)
    for image, found, plain in zip(
        images, detector.detect_masks(images), detector.detect(images), strict=True
    ):
        assert found.masks.shape == (len(found), *image.shape[:2]) and len(found)
        assert set(found.category_ids) <= {3, 7} and (np.diff(found.scores) <= 0).all()
        assert plain.masks is None and (plain.scores == found.scores).all()
        (last,) = detector.detect_masks([image], of=lambda found: np.array([len(found) - 1]))
        assert len(last) == 1 and (last.masks[0] == found.masks[-1]).all()
        for box, mask in zip(found.boxes_xyxy, found.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_the_detection_that_was_accepted_gives_the_mask() -> None:
    detector = mask_rcnn()
    image = pictures(5)[4]
    found = detector.detect_masks([image])[0]
    fits = [
        k
        for k, (box, mask) in enumerate(zip(found.boxes_xyxy, found.masks, strict=True))
        if mask.any() and fit_of(mask, box) > 0.75
    ]
    window = np.array([0, 0, 64, 64])
    objects = [
        PaintedObject(
            image, image, found.boxes_xyxy[k], window.astype(float), window, int(found.category_ids[k])
        )
        for k in fits
    ]
    masks = DetectorOutlines(detector).outline(objects)
    assert fits and all(
        mask is not None and (mask <= found.masks[k]).all() for k, mask in zip(fits, masks, strict=True)
    )
    assert DetectorOutlines(detector).outline([replace(objects[0], category_id=99)]) == [None]


def fit_of(mask: NDArray[np.bool_], box: NDArray[np.float64]) -> float:
    rows, columns = np.nonzero(mask)
    bounds = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)
    return float(ious(bounds[None], box[None])[0, 0])


def test_an_ensemble_asks_the_member_with_a_mask_head() -> None:
    pytest.importorskip("ensemble_boxes")
    plain: Detector = load_detector(boxes_only(), sample_categories())
    assert not EnsembleDetector([plain]).has_masks
    both = EnsembleDetector([plain, mask_rcnn()])
    found = both.detect_masks(pictures(1))[0]
    (first,) = both.detect_masks(pictures(1), of=lambda found: np.array([0]))
    assert len(first) == 1 and (first.masks[0] == found.masks[0]).all()
    assert both.has_masks and found.masks is not None and len(found) == len(found.masks)


def sample_categories() -> list[Category]:
    from augsynth.sample import world

    return [Category(c.id, c.name) for c in world.CATEGORIES]


# --- matting and the segmenter on a painted object --------------------------------------------------------------------


def painted_disc() -> tuple[PaintedObject, NDArray[np.bool_]]:
    """A bright disc painted into a grey picture, with a repainted margin that hardly changes."""
    rng = np.random.default_rng(3)
    before = rng.integers(90, 110, (80, 90, 3), dtype=np.uint8)
    y, x = np.indices((80, 90)) + 0.5
    truth = np.hypot(x - 40, y - 38) < 14
    after = before.copy()
    after[18:58, 20:60] = rng.integers(90, 110, (40, 40, 3), dtype=np.uint8)
    after[truth] = (230, 60, 40)
    box = np.array([26.0, 24, 54, 52])
    painted = PaintedObject(before, after, box, np.array([20.0, 18, 60, 58]), np.array([12, 10, 68, 66]), 7)
    return painted, truth


def test_a_head_that_draws_from_a_box_doesnt_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = render_scene(11, 0)
    detector = load_detector("embedded", sample_categories())
    monkeypatch.setattr(detector, "_detect", None)
    overlaps = []
    for box, kind, truth in zip(scene.boxes_xyxy, scene.category_ids.tolist(), scene.masks, strict=True):
        window = np.round(box).astype(np.int64)
        painted = PaintedObject(scene.image, scene.image, box, box, window, kind)
        [mask] = DetectorOutlines(detector).outline([painted])
        assert mask is not None and mask.shape == truth.shape
        overlaps.append((mask & truth).sum() / (mask | truth).sum())
    assert len(overlaps) > 2 and np.mean(overlaps) > 0.85


def test_matting_finds_the_outline_or_says_that_it_cannot() -> None:
    painted, truth = painted_disc()
    [mask] = MattingOutlines().outline([painted])
    assert mask is not None and mask.shape == truth.shape
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    assert MattingOutlines().outline([replace(painted, after=painted.before)]) == [None]


def test_a_segmenters_mask_that_does_not_fit_is_not_taken() -> None:
    class Everything(Segmenter):
        def __init__(self) -> None: ...

        def segment(self, images: Sequence[object], boxes_xyxy: Sequence[object]) -> list[NDArray[np.bool_]]:
            return [np.ones(np.shape(image)[:2], bool) for image in images]

    class Disc(Everything):
        def segment(self, images: Sequence[object], boxes_xyxy: Sequence[object]) -> list[NDArray[np.bool_]]:
            return [(np.asarray(image)[..., 0] > 200) for image in images]

    painted, truth = painted_disc()
    assert SegmenterOutlines(Everything()).outline([painted]) == [None]
    [mask] = SegmenterOutlines(Disc()).outline([painted])
    assert mask is not None and (mask == truth).all()


# --- the choice ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerateConfig:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=8, seed=5, workers=1)
    return GenerateConfig.of(
        n=4,
        annotations=str(root / "annotations" / "instances.json"),
        images=str(root / "images"),
        model="embedded",
        detector="embedded",
        guidance=2.0,
        steps=2,
        bank=True,
        # What the embedded models are worth is for the benchmarks to say: here nearly everything passes.
        min_score=0.05,
        min_iou=0.1,
    )


def without_masks(dataset: Dataset) -> Dataset:
    rows = [{k: v for k, v in a.items() if k != "segmentation"} for a in dataset.document["annotations"]]
    return replace(dataset, document={**dataset.document, "annotations": rows})


def test_auto_follows_what_there_is(config: GenerateConfig, tmp_path: Path) -> None:
    _, dataset = open_dataset(config)
    boxes, head = without_masks(dataset), mask_rcnn()
    plain = load_detector(boxes_only(), dataset.categories)
    assert isinstance(open_outliner(config, dataset, head), DetectorOutlines)
    assert isinstance(open_outliner(config, dataset, plain), MattingOutlines)
    assert isinstance(open_outliner(config, dataset, None), MattingOutlines)
    assert open_outliner(config, boxes, head) is None
    assert isinstance(open_outliner(config.but(unmasked="reject"), boxes, None), MattingOutlines)
    assert open_outliner(config.but(masks="off"), dataset, head) is None
    assert isinstance(open_outliner(config.but(masks="matting"), boxes, head), MattingOutlines)
    asked = config.but(segmenter=str(write_sam(tmp_path / "sam")))
    assert isinstance(open_outliner(asked, boxes, head), SegmenterOutlines)
    for detector in (plain, None):
        with pytest.raises(ConfigError, match="masks is 'detector', but"):
            open_outliner(config.but(masks="detector"), dataset, detector)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--masks", "yes"],
            "'--masks': 'yes' is not one of 'auto', 'off', 'detector', 'matting', 'segmenter'",
        ),
        (["--mask-format", "png"], "'--mask-format': 'png' is not one of 'polygon', 'rle'"),
        (["--masks", "segmenter"], "name a SAM checkpoint with --segmenter"),
        (["--masks", "matting", "--segmenter", "x/y"], "segmenter is given, but masks is 'matting'"),
        (["--segmenter", "./nowhere", "--n", "1"], "./nowhere: no such folder"),
    ],
)
def test_bad_values_are_one_line(
    arguments: list[str],
    complaint: str,
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = ["--annotations", str(config.data.annotations), "--images", str(config.data.images)]
    models = ["--model", "embedded", "--detector", "embedded", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["augsynth", "generate", *source, *models, *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("augsynth:")]
    assert stop.value.code == 2 and len(lines) == 1 and complaint in lines[0]
    assert not (tmp_path / "out" / "provenance.jsonl").exists()


def test_a_detectors_masks_need_a_detector(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no detector is loaded"):
        GenerateConfig.of(masks="detector", filter="off")
    with pytest.raises(ConfigError, match="unmasked is 'reject'"):
        GenerateConfig.of(masks="off", unmasked="reject")
    (tmp_path / "c.yaml").write_text("masks: off\n")
    assert yaml.safe_load((tmp_path / "c.yaml").read_text())["masks"] is False
    from augsynth.generation.config import read_config

    assert read_config(tmp_path / "c.yaml").masking.masks == "off"


# --- what comes out ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    out = tmp_path_factory.mktemp("run") / "out"
    return out, generate(config.but(out=str(out), filter="off", n=5, unmasked="keep"), progress=ignore)


def synthetic(out: Path) -> list[dict[str, object]]:
    document = json.loads((out / "synthetic" / "instances.json").read_text())
    return [a for a in document["annotations"] if a.get("attributes", {}).get("synthetic")]


def test_masks_are_written_with_their_source_and_area(run: tuple[Path, Tally]) -> None:
    out, tally = run
    rows = synthetic(out)
    masked = [a for a in rows if "segmentation" in a]
    assert masked and len(rows) == 5
    coco = COCO(str(out / "annotations" / "instances_augmented.json"))
    for a in rows:
        x, y, w, h = a["bbox"]
        if "segmentation" not in a:
            assert a["area"] == w * h and "mask_source" not in a["attributes"]
            continue
        assert a["attributes"]["mask_source"] == "matting" and a["segmentation"]
        mask = coco.annToMask(a).astype(bool)
        assert a["area"] == mask.sum() and fit_of(mask, np.array([x, y, x + w, y + h])) >= 0.6
    lines = [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]
    kept = [line["mask"] for line in lines if "annotation_id" in line]
    assert kept.count("matting") == len(masked) and kept.count(None) == 5 - len(masked)
    assert tally.masks == {"matting": len(masked), None: 5 - len(masked)} or len(masked) == 5
    rest = "" if len(masked) == 5 else ", boxes for the rest"
    assert f"masks: {len(masked)} of 5 objects (by matting){rest}" in summary_lines(tally, out)


def test_the_bank_cuts_along_the_masks(run: tuple[Path, Tally]) -> None:
    out, _ = run
    coco = COCO(str(out / "annotations" / "instances_augmented.json"))
    rows = synthetic(out)
    bank = Bank.open(out / "bank")
    assert [cutout.has_mask for cutout in bank] == ["segmentation" in a for a in rows]
    for cutout, a in zip(bank, rows, strict=True):
        if cutout.has_mask:
            mask = coco.annToMask(a).astype(bool)
            x, y = (round(v) for v in np.array(a["bbox"][:2]) - cutout.box_xyxy[:2])
            height, width = cutout.alpha.shape
            part = mask[y : y + height, x : x + width]
            opaque = cutout.alpha >= 128
            assert part.sum() == mask.sum()
            assert (opaque & part).sum() / (opaque | part).sum() > 0.95  # polygons leave out small corners


def test_a_dataset_of_boxes_gets_boxes_and_the_same_pixels(
    config: GenerateConfig, run: tuple[Path, Tally], tmp_path: Path
) -> None:
    document = json.loads(Path(str(config.data.annotations)).read_text())
    for a in document["annotations"]:
        del a["segmentation"]
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    out = tmp_path / "out"
    options = config.but(filter="off", n=5, annotations=str(tmp_path / "boxes.json"), out=str(out))
    tally = generate(options, progress=ignore)
    assert not tally.masks and not any(line.startswith("masks") for line in summary_lines(tally, out))
    assert all("segmentation" not in a and "mask" not in a["attributes"] for a in synthetic(out))
    assert [a["bbox"] for a in synthetic(out)] == [a["bbox"] for a in synthetic(run[0])]
    assert '"mask"' not in (out / "provenance.jsonl").read_text()
    for picture in (run[0] / "images" / "augsynth").iterdir():
        assert (out / "images" / "augsynth" / picture.name).read_bytes() == picture.read_bytes()


def test_rle_on_request_and_neighbours_keep_to_what_is_seen(
    config: GenerateConfig, run: tuple[Path, Tally], tmp_path: Path
) -> None:
    out = tmp_path / "rle"
    options = config.but(filter="off", n=5, mask_format="rle", unmasked="keep", out=str(out))
    generate(options, progress=ignore)
    document = json.loads((out / "synthetic" / "instances.json").read_text())
    source = json.loads(Path(str(config.data.annotations)).read_text())
    known = {(a["category_id"], *a["bbox"]): a for a in source["annotations"]}
    pairs = 0
    for image in document["images"]:
        rows = [a for a in document["annotations"] if a["image_id"] == image["id"]]
        new = [a for a in rows if a.get("attributes", {}).get("synthetic") and "segmentation" in a]
        assert all(isinstance(a["segmentation"]["counts"], str) for a in new)
        cover = coco_mask.merge([a["segmentation"] for a in new])
        for a in rows:
            if a.get("attributes", {}).get("synthetic"):
                continue
            was = known[(a["category_id"], *a["bbox"])]
            size_wh = image["width"], image["height"]
            whole = decoded(as_rle(was["segmentation"], size_wh))
            seen = whole & ~decoded(cover) if new else whole
            found = decoded(as_rle(a["segmentation"], size_wh))
            assert (found & seen).sum() >= 0.97 * (found | seen).sum()  # corners of polygons are rounded
            pairs += 1
    assert pairs
    assert [a["bbox"] for a in synthetic(out)] == [a["bbox"] for a in synthetic(run[0])]
