"""AffinityPaste among torchvision's transforms: CocoDetection, tensors and pictures, other entries, workers."""

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


def loaded(dataset, workers, **options):
    loader = torch.utils.data.DataLoader(
        dataset, 1, num_workers=workers, collate_fn=lambda b: b[0], **options
    )
    return [[image.numpy().tobytes() for image, _ in loader] for _ in range(2)]


def test_seed_and_epoch_decide_in_any_number_of_workers(data):
    paste = build(data, seed=42)
    dataset = torch.utils.data.Subset(coco(data, paste), range(4))
    first = loaded(dataset, 0)
    assert first[0] == first[1] == loaded(dataset, 4)[0]
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
    assert "max_objects=3" in repr(paste)


def test_an_image_of_another_type_says_so(data):
    target = {"boxes": torch.tensor([[20.0, 30, 40, 50]]), "labels": torch.tensor([3])}
    with pytest.raises(ConfigError, match="uint8"):
        build(data)(torch.rand(3, 120, 160), target)
    with pytest.raises(ConfigError, match="shape"):
        build(data)(torch.zeros(120, 160, dtype=torch.uint8), target)
