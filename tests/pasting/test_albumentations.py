"""AffinityPaste in a Compose of Albumentations: label fields, masks, key points, workers, saving, bad input."""

import os
import pickle

import numpy as np
import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A
import torch

from augsynth.core.errors import ConfigError
from augsynth.pasting.albumentations import AffinityPaste
from tests.pasting.discs import NAMES, SIZE_WH, write_all

BOXES = [[20.0, 30, 40, 50], [70, 40, 92, 62]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def build(data, **options):
    return AffinityPaste(data / "bank", data / "affinity.json", **dict(p=1.0) | options)


def compose(*transforms, fields=("labels",), form="pascal_voc", **options):
    return A.Compose(
        [*transforms], bbox_params=A.BboxParams(format=form, label_fields=list(fields)), **options
    )


def picture(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(105, 125, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)


def masks():
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]] + 0.5
    return [(np.hypot(x - a, y - b) <= r).astype(np.uint8) for a, b, r in ((30, 40, 10), (81, 51, 11))]


@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("form", ["pascal_voc", "coco", "yolo", "albumentations"])
def test_boxes_labels_and_masks_come_out_in_step(data, form, as_array):
    boxes = np.array(BOXES)
    if form in ("coco", "yolo"):
        boxes[:, 2:] -= boxes[:, :2]
    if form == "yolo":
        boxes[:, :2] += boxes[:, 2:] / 2
    if form in ("yolo", "albumentations"):
        boxes /= [*SIZE_WH, *SIZE_WH]
    pipeline = compose(build(data, max_objects=4), form=form, seed=0)
    for k in range(6):
        given = np.stack(masks()) if as_array else masks()
        found = pipeline(image=picture(k), bboxes=boxes, labels=[3, 7], masks=given)
        num = len(found["bboxes"])
        assert num == len(found["labels"]) == len(found["masks"]) > 2
        assert isinstance(found["masks"], np.ndarray) == as_array
        assert found["labels"][:2] == [3, 7] and {int(x) for x in found["labels"]} <= {3, 7, 12}
        assert np.allclose(found["bboxes"][:2], boxes, atol=1e-4)
        if form == "pascal_voc":
            for box, mask in zip(found["bboxes"], found["masks"], strict=True):
                rows, columns = np.nonzero(mask)
                bounds = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                assert np.abs(box - np.array(bounds)).max() <= 1


def test_names_as_labels_even_those_an_image_has_not(data):
    pipeline = compose(build(data, max_objects=4), seed=1)
    seen = set()
    for k in range(12):
        found = pipeline(image=picture(k), bboxes=BOXES, labels=["ball", "cube"])
        assert found["labels"][:2] == ["ball", "cube"] and len(found["labels"]) == len(found["bboxes"])
        seen |= set(found["labels"])
    assert seen == set(NAMES)


def test_labels_in_the_boxes_themselves(data):
    pipeline = A.Compose([build(data)], bbox_params=A.BboxParams(format="pascal_voc"), seed=2)
    found = pipeline(image=picture(), bboxes=[[*BOXES[0], 3], [*BOXES[1], 7]])
    assert len(found["bboxes"]) > 2 and {int(row[4]) for row in found["bboxes"]} <= {3, 7, 12}


def test_further_label_fields_get_what_fill_says(data):
    fields = ("idx", "labels", "place")
    with pytest.raises(ConfigError, match="fill="):
        compose(build(data, label_field="labels"), fields=fields)(
            image=picture(), bboxes=BOXES, idx=[0, 1], labels=[3, 7], place=["sea", "sea"]
        )
    fill = {"idx": -1, "place": "pasted"}
    pipeline = compose(build(data, label_field="labels", fill=fill), fields=fields)
    found = pipeline(image=picture(), bboxes=BOXES, idx=[0, 1], labels=[3, 7], place=["sea", "sea"])
    new = len(found["labels"]) - 2
    assert new >= 1 and [int(x) for x in found["idx"]] == [0, 1, *[-1] * new]
    assert found["place"] == ["sea", "sea", *["pasted"] * new]


def test_key_points_and_images_without_boxes_are_left_alone(data):
    pipeline = A.Compose(
        [build(data)],
        bbox_params=A.BboxParams(format="pascal_voc", label_fields=["labels"]),
        keypoint_params=A.KeypointParams(format="xy"),
    )
    points = np.array([[5.0, 6], [100, 50]], np.float32)
    found = pipeline(image=picture(), bboxes=BOXES, labels=[3, 7], keypoints=points)
    assert (found["keypoints"] == points).all() and len(found["bboxes"]) > 2
    empty = pipeline(image=picture(), bboxes=[], labels=[], keypoints=points)
    assert (empty["image"] == picture()).all() and len(empty["bboxes"]) == 0


def test_it_stands_among_other_transforms(data):
    pipeline = compose(
        A.HorizontalFlip(p=1.0), build(data), A.RandomCrop(80, 80), A.GaussianBlur(p=1.0), seed=4
    )
    found = pipeline(image=picture(), bboxes=BOXES, labels=[3, 7], masks=masks())
    assert found["image"].shape == (80, 80, 3) and len(found["bboxes"]) == len(found["labels"])


def test_the_seed_of_the_compose_decides(data):
    given = dict(image=picture(), bboxes=BOXES, labels=[3, 7])
    found = [compose(build(data), seed=seed)(**given)["image"].tobytes() for seed in (5, 5, 6)]
    assert found[0] == found[1] != found[2]


class Pictures(torch.utils.data.Dataset):
    def __init__(self, pipeline, *, alike=False, num=6):
        self.pipeline, self.alike, self.num = pipeline, alike, num

    def __len__(self):
        return self.num

    def __getitem__(self, index):
        image = picture(0 if self.alike else index)
        return self.pipeline(image=image, bboxes=BOXES, labels=[3, 7])["image"].tobytes()


def loaded(dataset, workers):
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=1, num_workers=workers, collate_fn=lambda b: b[0]
    )
    return list(loader)


def test_workers(data):
    """With a seed of its own their number changes nothing; without, each has a stream of its own."""
    dataset = Pictures(compose(build(data, seed=42)))
    assert loaded(dataset, 0) == loaded(dataset, 1) == loaded(dataset, 4)
    assert len(set(loaded(Pictures(compose(build(data)), alike=True), 2))) >= 5


def test_with_a_seed_chance_is_the_same_in_any_number_of_workers(data):
    """Which images are pasted into is drawn by the seed as well, whatever the generator of the Compose is at."""
    transform = build(data, seed=42, p=0.5)
    dataset = Pictures(compose(transform), num=12)
    first = loaded(dataset, 0)
    plain = [picture(k).tobytes() for k in range(len(dataset))]
    assert 0 < sum(a == b for a, b in zip(first, plain, strict=True)) < len(dataset)
    assert first == loaded(dataset, 0) == loaded(dataset, 1) == loaded(dataset, 4)
    transform.set_epoch(1)
    assert loaded(dataset, 0) != first


@pytest.mark.parametrize(("p", "wanted"), [(0.0, 0), (1.0, 8)])
def test_no_chance_and_certainty_hold_with_a_seed(data, p, wanted):
    transform = build(data, seed=1, p=p)
    found = loaded(Pictures(compose(transform), num=8), 0)
    assert sum(found[k] != picture(k).tobytes() for k in range(8)) == wanted
    assert transform.counters["images"] == wanted


def test_one_of_several_is_forced_with_a_seed_too(data):
    """OneOf has chosen already: then the chance isn't asked again."""
    pipeline = compose(A.OneOf([build(data, seed=1, p=0.01)], p=1.0))
    found = loaded(Pictures(pipeline, num=4), 0)
    assert all(found[k] != picture(k).tobytes() for k in range(4))


@pytest.mark.parametrize("kind", [int, bool])
def test_crowds_stay_and_are_not_pasted_onto(data, kind):
    boxes = [[0.0, 0, 100, 120], BOXES[1]]
    for k in range(8):
        pipeline = compose(build(data, label_field="labels", seed=k), fields=("labels", "iscrowd"))
        found = pipeline(image=picture(), bboxes=boxes, labels=[3, 7], iscrowd=[kind(1), kind(0)])
        assert found["iscrowd"][0] == 1 and np.allclose(found["bboxes"][0], boxes[0])
        assert len(found["bboxes"]) > 2 and not any(found["iscrowd"][1:])
        assert all(box[2] > 95 for box in found["bboxes"][2:])


def test_into_images_without_boxes_it_says_what_to_do(data):
    with pytest.raises(ConfigError, match="into_empty"):
        build(data, into_empty=True)
    assert build(data, into_empty=False)


def test_it_is_saved_and_pickled(data):
    pipeline = compose(build(data, seed=3, max_objects=2))
    given = dict(image=picture(), bboxes=BOXES, labels=[3, 7])
    wanted = pipeline(**given)["image"]
    for again in (A.from_dict(A.to_dict(pipeline)), pickle.loads(pickle.dumps(pipeline))):
        assert (again(**given)["image"] == wanted).all()
    assert "max_objects=2" in repr(build(data, max_objects=2))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(mask=np.zeros((120, 160), np.uint8)), "masks="),
        (dict(labels=[3, 99]), "99"),
        (dict(labels=["ball", "bowl"]), "bowl"),
        (dict(image=picture().astype(np.float32)), "uint8"),
        (dict(masks=masks()[:1]), "shape"),
    ],
)
def test_what_cannot_be_kept_up_is_told(data, given, said):
    with pytest.raises(ConfigError, match=said):
        compose(build(data))(**dict(image=picture(), bboxes=BOXES, labels=[3, 7]) | given)


def test_without_boxes_or_with_the_chance_of_the_others_it_says_what_to_do(data):
    with pytest.raises(ConfigError, match="bbox_params"):
        A.Compose([build(data)])(image=picture())
    with pytest.raises(ConfigError, match="p="):
        build(data, prob=0.5)
    with pytest.raises(ConfigError, match="none of label_fields"):
        compose(build(data, label_field="kind"))(image=picture(), bboxes=BOXES, labels=[3, 7])
