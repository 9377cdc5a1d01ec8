"""AffinityPaste among torchvision's transforms: CocoDetection, tensors and pictures, other entries, workers."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image as pil
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from augsynth.core.errors import ConfigError
from augsynth.pasting.torchvision import AffinityPaste
from tests.pasting.discs import NAMES, write_all


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def build(data, **options):
    return AffinityPaste(data / "bank", data / "affinity.json", **dict(prob=1.0) | options)


def coco(data, *transforms):
    keys = ["image_id", "boxes", "labels", "masks", "area", "iscrowd"]
    composed = v2.Compose([v2.ToImage(), *transforms])
    dataset = CocoDetection(data / "images", data / "train.json", transforms=composed)
    return wrap_dataset_for_transforms_v2(dataset, target_keys=keys)


def check_consistent(image, target):
    num = len(target["labels"])
    assert isinstance(image, tv_tensors.Image) and image.dtype == torch.uint8
    assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
    assert (
        len(target["boxes"]) == len(target["masks"]) == num and target["masks"].shape[1:] == image.shape[1:]
    )
    for box, mask in zip(target["boxes"], target["masks"], strict=True):
        rows, columns = torch.where(mask > 0)
        bounds = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (bounds - box).abs().max() <= 1.5  # the polygons of the file are rounded when they are filled


def test_coco_detection_comes_out_in_step_and_goes_on_through_other_transforms(data):
    torch.manual_seed(0)
    plain, dataset = coco(data), coco(data, build(data, max_objects=4))
    new = 0
    for k in range(12):
        (image, target), (_, before) = dataset[k], plain[k]
        check_consistent(image, target)
        new += len(target["labels"]) - len(before["labels"])
        assert set(target["labels"].tolist()) <= {3, 7, 12} and target["image_id"] == before["image_id"]
    assert new >= 12
    crop = [v2.RandomCrop((80, 80), pad_if_needed=True), v2.SanitizeBoundingBoxes()]
    image, target = coco(data, build(data), *crop)[0]
    assert image.shape == (3, 80, 80) and len(target["boxes"]) == len(target["labels"])


@pytest.mark.parametrize("kind", ["tensor", "picture"])
@pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH", None])
def test_images_and_boxes_keep_their_kind(data, kind, form):
    rng = np.random.default_rng(0)
    pixels = rng.integers(105, 125, (120, 160, 3)).astype(np.uint8)
    image = pil.fromarray(pixels) if kind == "picture" else torch.from_numpy(pixels).permute(2, 0, 1)
    xyxy = torch.tensor([[20.0, 30, 40, 50], [70, 40, 92, 62]])
    boxes = xyxy
    if form:
        boxes = tv_tensors.BoundingBoxes(xyxy, format="XYXY", canvas_size=(120, 160))
        boxes = v2.functional.convert_bounding_box_format(
            boxes, new_format=tv_tensors.BoundingBoxFormat[form]
        )
    target = {"boxes": boxes, "labels": torch.tensor([1, 2])}
    paste = build(data, classes=["__background__", *NAMES], seed=3)
    new_image, new = paste(image, target)
    assert type(new_image) is type(image) and type(new["boxes"]) is type(boxes)
    assert len(new["boxes"]) == len(new["labels"]) > 2 and new["boxes"].dtype == torch.float32
    back = new["boxes"]
    if form:
        assert new["boxes"].format == boxes.format
        back = v2.functional.convert_bounding_box_format(
            new["boxes"], new_format=tv_tensors.BoundingBoxFormat.XYXY
        )
    assert torch.allclose(back[:2].as_subclass(torch.Tensor), xyxy)
    assert (back[:, 2:] > back[:, :2]).all() and torch.equal(
        xyxy, torch.tensor([[20.0, 30, 40, 50], [70, 40, 92, 62]])
    )
    assert (np.asarray(image if kind == "picture" else image.permute(1, 2, 0)) == pixels).all()


def test_other_entries_with_a_row_for_each_object_stay_in_step(data):
    image = torch.full((3, 120, 160), 115, dtype=torch.uint8)
    target = {
        "boxes": torch.tensor([[20.0, 30, 40, 50], [70, 40, 92, 62]]),
        "labels": torch.tensor([3, 7]),
        "iscrowd": torch.tensor([0, 1]),
        "area": torch.tensor([300.0, 400.0]),
        "keypoints": torch.ones(2, 5, 3),
        "size": torch.tensor([120, 160]),
        "names": ["a", "b"],
    }
    _, new = build(data, seed=1)(image, target)
    num = len(new["labels"])
    assert num > 2 and new["size"].tolist() == [120, 160] and new["names"][:2] == ["a", "b"]
    assert len(new["names"]) == len(new["area"]) == len(new["keypoints"]) == num
    assert new["iscrowd"].tolist() == [0, 1, *[0] * (num - 2)] and not new["keypoints"][2:].any()
    sides = new["boxes"][2:, 2:] - new["boxes"][2:, :2]
    assert new["area"][:2].tolist() == [300, 400] and torch.allclose(new["area"][2:], sides.prod(dim=1))


def blank():
    return torch.full((3, 120, 160), 115, dtype=torch.uint8)


def test_images_without_annotations_pass(data, tmp_path):
    """The wrapper of torchvision gives them a target that has no boxes."""
    document = json.loads((data / "train.json").read_text())
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] != 0]
    (tmp_path / "some.json").write_text(json.dumps(document))
    transforms = v2.Compose([v2.ToImage(), build(data)])
    dataset = CocoDetection(data / "images", tmp_path / "some.json", transforms=transforms)
    image, target = wrap_dataset_for_transforms_v2(dataset)[0]
    assert target == {"image_id": 0}
    assert torch.equal(image, v2.functional.to_image(pil.open(data / "images/0.png")))


@pytest.mark.parametrize("into_empty", [False, True])
def test_empty_targets_are_pasted_into_on_request(data, into_empty):
    target = {
        "boxes": tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYWH", canvas_size=(120, 160)),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": tv_tensors.Mask(torch.zeros(0, 120, 160, dtype=torch.uint8)),
        "area": torch.zeros(0),
        "iscrowd": torch.zeros(0, dtype=torch.int64),
    }
    _, new = build(data, into_empty=into_empty, seed=1)(blank(), target)
    num = len(new["labels"])
    assert (num > 0) == into_empty and new["boxes"].format == tv_tensors.BoundingBoxFormat.XYWH
    assert all(len(new[name]) == num for name in target)
    assert new["area"].tolist() == new["masks"].flatten(1).count_nonzero(dim=1).tolist()


def test_the_area_of_a_partly_covered_mask_is_counted_anew(data):
    """What is cut out of the middle of a mask leaves its box as it was."""
    masks = torch.zeros(2, 120, 160, dtype=torch.uint8)
    masks[0, 10:110, 10:150] = 1
    masks[1, :4, :4] = 1
    target = {
        "boxes": torch.tensor([[10.0, 10, 150, 110], [0, 0, 4, 4]]),
        "labels": torch.tensor([3, 7]),
        "masks": masks,
        "area": torch.tensor([13999.0, 15.0]),
    }
    _, new = build(data, seed=1, rules=dict(max_overlap=0.5))(blank(), target)
    counted = new["masks"].flatten(1).count_nonzero(dim=1).tolist()
    assert new["boxes"][0].tolist() == [10, 10, 150, 110] and counted[0] < 14000
    assert new["area"][0] == counted[0] and new["area"][1] == 15 and new["area"][2:].tolist() == counted[2:]


def test_other_tensors_and_grey_pictures_keep_their_kind(data):
    boxes = torch.tensor([[20.0, 30, 40, 50], [70, 40, 92, 62]])
    points = tv_tensors.KeyPoints(torch.ones(2, 5, 2), canvas_size=(120, 160))
    target = {"boxes": boxes, "labels": torch.tensor([3, 7]), "points": points}
    grey = pil.fromarray(np.full((120, 160), 115, np.uint8))
    image, new = build(data, seed=1)(grey, target)
    assert image.mode == "L" and (np.asarray(image) != 115).any()
    assert isinstance(new["points"], tv_tensors.KeyPoints) and new["points"].canvas_size == (120, 160)
    assert len(new["points"]) == len(new["labels"]) > 2
    with pytest.raises(ConfigError, match="RGBA"):
        build(data)(grey.convert("RGBA"), target)


def loaded(dataset, workers, **options):
    loader = torch.utils.data.DataLoader(
        dataset, 1, num_workers=workers, collate_fn=lambda b: b[0], **options
    )
    return [[image.numpy().tobytes() for image, _ in loader] for _ in range(2)]


def test_seed_and_epoch_decide_in_any_number_of_workers(data):
    paste = build(data, seed=42)
    dataset = torch.utils.data.Subset(coco(data, paste), range(4))
    first = loaded(dataset, 0)
    assert first[0] == first[1] == loaded(dataset, 1)[0] == loaded(dataset, 4)[0]
    loader = torch.utils.data.DataLoader(
        dataset, 1, num_workers=1, persistent_workers=True, collate_fn=lambda b: b[0]
    )
    found = []
    for epoch in (0, 1, 0):
        paste.set_epoch(epoch)
        found.append([image.numpy().tobytes() for image, _ in loader])
    assert found[0] == first[0] == found[2] and found[1] != found[0]


def test_torch_decides_without_a_seed(data):
    dataset = coco(data, build(data))
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(dataset[1][0].numpy().tobytes())
    assert found[0] == found[1] != found[2]


def test_pickled_it_does_the_same(data):
    paste = build(data, seed=5)
    again = pickle.loads(pickle.dumps(paste))
    image, target = coco(data)[1]
    assert torch.equal(paste(image, target)[0], again(image, target)[0])
    assert "max_objects=3" in repr(paste) and paste.counters["images"] == 1


def test_an_image_of_another_type_says_so(data):
    target = {"boxes": torch.tensor([[20.0, 30, 40, 50]]), "labels": torch.tensor([3])}
    with pytest.raises(ConfigError, match="uint8"):
        build(data)(torch.rand(3, 120, 160), target)
    with pytest.raises(ConfigError, match="shape"):
        build(data)(torch.zeros(120, 160, dtype=torch.uint8), target)
