"""AffinityPaste on arrays: what comes back, the seed and what it depends on, workers, and bad input."""

import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch

import augsynth
from augsynth.core.errors import AugsynthError, ConfigError
from augsynth.core.masks import bounds_of
from augsynth.pasting.affinity_paste import AffinityPaste
from augsynth.placement.scene_model import load_affinity
from tests.pasting.discs import NAMES, SIZE_WH, disc_polygon, write_all


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def build(data, **options):
    chosen = dict(prob=1.0, max_objects=3) | options
    return AffinityPaste(data / "bank", data / "affinity.json", **chosen)


def picture(seed=0):
    """An image, two boxes, labels as COCO ids, and masks of discs."""
    rng = np.random.default_rng(seed)
    image = rng.integers(105, 125, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)
    boxes = np.array([[20.0, 30, 40, 50], [70, 40, 92, 62]])
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]] + 0.5
    masks = np.stack([np.hypot(x - 30, y - 40) <= 10, np.hypot(x - 81, y - 51) <= 11])
    return image, boxes, np.array([3, 7]), masks


def test_it_is_part_of_the_interface():
    assert augsynth.AffinityPaste is AffinityPaste


@pytest.mark.parametrize("kind", [bool, np.uint8])
def test_what_comes_back_is_in_step(data, kind):
    image, boxes, labels, masks = picture()
    kept = [array.copy() for array in (image, boxes, labels, masks)]
    paste = build(data, max_objects=6, rules=dict(max_overlap=0.6))
    for seed in range(12):
        found = paste(image, boxes, labels, masks.astype(kind), rng=seed)
        assert found.masks.dtype == kind and found.image.dtype == np.uint8
        assert len(found.boxes_xyxy) == len(found.labels) == len(found.masks) == len(found.before)
        assert set(found.labels.tolist()) <= {3, 7, 12} and found.num_pasted == (found.before < 0).sum()
        for box, mask in zip(found.boxes_xyxy, found.masks, strict=True):
            assert np.abs(bounds_of(mask > 0) - box).max() <= 1
        assert not (np.sum(found.masks > 0, axis=0) > 1).any()  # each pixel shows one object
        for new, old in zip(found.labels, found.before, strict=True):
            assert old < 0 or new == labels[old]
    assert paste.counters["pasted"] >= 12
    assert all((a == b).all() for a, b in zip(kept, (image, boxes, labels, masks), strict=True))


def test_polygons_stay_polygons(data):
    image, boxes, labels, _ = picture()
    polygons = [
        [np.array(disc_polygon(30, 40, 10), np.float32)],
        [np.array(disc_polygon(81, 51, 11), np.float32)],
    ]
    found = build(data)(image, boxes, labels, polygons, rng=1)
    assert found.num_pasted and isinstance(found.masks, list) and len(found.masks) == len(found.boxes_xyxy)


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [
        (None, {3, 7, 12}),
        (NAMES, {0, 1, 2}),
        (["__background__", *NAMES], {1, 2, 3}),
        ({5: "cube", 9: "ball"}, {5, 9}),
    ],
)
def test_labels_are_ids_positions_or_what_a_mapping_says(data, classes, wanted):
    image, boxes, _, _ = picture()
    paste = build(data, classes=classes, max_objects=4)
    first = next(iter(classes)) if isinstance(classes, Mapping) else min(wanted)
    found = {
        label for seed in range(20) for label in paste(image, boxes, [first] * 2, rng=seed).labels.tolist()
    }
    assert found == wanted


def test_a_seed_decides_by_image_and_epoch(data):
    one, two = build(data, seed=7), build(data, seed=7)
    first = [one(*picture(k)).image.tobytes() for k in range(4)]
    assert [two(*picture(k)).image.tobytes() for k in (3, 2, 1, 0)] == first[::-1]
    two.set_epoch(1)
    assert two(*picture(0)).image.tobytes() != first[0]
    assert build(data, seed=8)(*picture(0)).image.tobytes() != first[0]


def test_without_a_seed_numpys_global_generator_is_asked(data):
    paste = build(data)
    np.random.seed(3)
    first = [paste(*picture()).image.tobytes() for _ in range(3)]
    np.random.seed(3)
    assert [paste(*picture()).image.tobytes() for _ in range(3)] == first and len(set(first)) == 3
    assert paste(*picture(), rng=5).image.tobytes() == paste(*picture(), rng=5).image.tobytes()


class Pictures(torch.utils.data.Dataset):
    def __init__(self, paste, *, alike=False):
        self.paste, self.alike = paste, alike

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.paste(*picture(0 if self.alike else index)).image.tobytes()


def loaded(dataset, workers):
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=1, num_workers=workers, collate_fn=lambda b: b[0]
    )
    return list(loader)


def test_the_number_of_workers_changes_nothing_with_a_seed(data):
    dataset = Pictures(build(data, seed=42))
    assert loaded(dataset, 0) == loaded(dataset, 1) == loaded(dataset, 4)


def test_workers_draw_differently_without_a_seed(data):
    assert len(set(loaded(Pictures(build(data), alike=True), 2))) >= 7


def test_pickled_it_does_the_same_and_is_small(data):
    paste = build(data, seed=1)
    content = pickle.dumps(paste)
    assert len(content) < 2_000_000
    assert pickle.loads(content)(*picture()).image.tobytes() == paste(*picture()).image.tobytes()


def test_chance_leaves_images_as_they_are(data):
    image, boxes, labels, masks = picture()
    found = build(data, prob=0.0)(image, boxes, labels, masks)
    assert found.image is image and found.masks is masks and found.before.tolist() == [0, 1]
    paste = build(data, prob=0.5)
    share = np.mean([paste(image, boxes, labels, rng=k).num_pasted > 0 for k in range(60)])
    assert 0.25 < share < 0.75


def test_ignore_regions_stay_and_are_not_pasted_onto(data):
    image, boxes, labels, _ = picture()
    boxes[0] = [0, 0, 100, 120]
    for seed in range(8):
        found = build(data)(image, boxes, labels, ignored=[True, False], rng=seed)
        assert 0 in found.before
        assert (found.boxes_xyxy[found.before < 0][:, 2] > 95).all()


def test_a_fitted_model_does_in_the_place_of_a_file(data):
    model = load_affinity(data / "affinity.json")
    found = AffinityPaste(data / "bank", model, prob=1.0, seed=2)(*picture())
    assert found.image.tobytes() == build(data, seed=2)(*picture()).image.tobytes()


def test_what_passes_unchanged_is_counted_and_told(data, caplog):
    paste = build(data)
    image = picture()[0]
    assert paste(image, np.zeros((0, 4)), []).num_pasted == 0
    assert paste.counters["no_annotations"] == 1 and "without objects" in caplog.text
    assert build(data, into_empty=True)(image, np.zeros((0, 4)), [], np.zeros((0, 120, 160), bool)).num_pasted


WRONG = {
    "float": (lambda i, b, k, m: (i / 255.0, b, k), "uint8"),
    "label": (lambda i, b, k, m: (i, b, [3, 99]), "99"),
    "labels": (lambda i, b, k, m: (i, b, [3]), "1 labels"),
    "masks": (lambda i, b, k, m: (i, b, k, m[:1]), "shape"),
    "polygons": (lambda i, b, k, m: (i, b, k, [[]]), "1 masks"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arrays_that_do_not_go_together_are_told_in_one_line(data, case):
    change, said = WRONG[case]
    with pytest.raises(ConfigError, match=said) as error:
        build(data)(*change(*picture()))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(max_object=3), "did you mean max_objects"),
        (dict(prob=2), "prob"),
        (dict(classes=["bowl"]), "bowl"),
        (dict(classes={1: "ball", 2: "ball"}), "differ"),
        (dict(classes=["__background__"]), "class ''"),
        (dict(quotas={"bowl": 1}), "bowl"),
        (dict(blends=["glue"]), "glue"),
    ],
)
def test_wrong_options_stop_at_once(data, options, said):
    with pytest.raises(AugsynthError, match=said):
        build(data, **options)


def test_without_a_bank_it_says_what_is_missing(data):
    paste = AffinityPaste(None, data / "affinity.json", prob=1.0)
    with pytest.raises(ConfigError, match="bank="):
        paste(*picture())
