"""AffinityPaste inside the real MMDetection: dataset, registry, mixing, and bad input."""

import copy
import os
import pickle

import numpy as np
import pytest

if os.environ.get("AUGSYNTH_REQUIRE_MMDET") != "1":
    pytest.importorskip("mmdet.datasets", reason="needs MMDetection: pip install augsynth[mmdet]")

import torch
from mmcv.transforms import TRANSFORMS
from mmcv.transforms.utils import cache_random_params
from mmdet.datasets import MultiImageMixDataset
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import Config
from mmengine.registry import init_default_scope

from augsynth.bank.reader import Bank
from augsynth.bank.writer import BankWriter
from augsynth.core.errors import AugsynthError, ConfigError
from augsynth.core.scene import Category
from augsynth.pasting.transform import AffinityPaste
from tests.pasting.discs import COLOURS, NAMES, SIZE_WH, write_all, write_bank
from tests.pasting.mmdet_pipelines import LOAD, coco, paste_config


@pytest.fixture(scope="module", autouse=True)
def scope():
    init_default_scope("mmdet")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def build(data, **options):
    return TRANSFORMS.build(paste_config(data, **options))


def check_consistent(results, *, form="boxes"):
    n = len(results["gt_bboxes_labels"])
    boxes = results["gt_bboxes"]
    assert isinstance(boxes, HorizontalBoxes) and boxes.tensor.dtype == torch.float32 and len(boxes) == n
    assert results["img"].dtype == np.uint8 and results["gt_bboxes_labels"].dtype == np.int64
    assert results["gt_ignore_flags"].dtype == bool and len(results["gt_ignore_flags"]) == n
    height, width = results["img"].shape[:2]
    array = boxes.tensor.numpy()
    assert (array[:, :2] >= 0).all() and (array[:, 2:] <= (width, height)).all()
    assert (array[:, 2:] > array[:, :2]).all()
    if form == "boxes":
        assert "gt_masks" not in results
        return
    assert isinstance(results["gt_masks"], BitmapMasks if form == "bitmap" else PolygonMasks)
    assert len(results["gt_masks"]) == n and results["gt_masks"].height == height
    fitted = results["gt_masks"].get_bboxes("hbox").tensor.numpy()
    assert np.abs(fitted - array).max() <= 2.5


@pytest.mark.parametrize("form", ["boxes", "bitmap", "polygon"])
def test_bank_objects_enter_consistently(data, form):
    np.random.seed(0)
    dataset = coco(data, [*LOAD[form], paste_config(data, max_objects=3)])
    plain = coco(data, LOAD[form])
    pasted = 0
    for i in range(len(dataset)):
        results, before = dataset[i], plain[i]
        check_consistent(results, form=form)
        new = results.get("num_pasted", 0)
        pasted += new
        assert len(results["gt_bboxes_labels"]) >= new
        if new:
            assert (results["img"] != before["img"]).any()
    assert pasted >= len(dataset)
    assert dataset.pipeline.transforms[-1].counters["pasted"] >= pasted


def test_labels_follow_names_and_pixels_stay_bgr(data):
    """The pasted disc's colour says what it is, whatever the bank's ids; `img` is BGR, the bank is RGB."""
    np.random.seed(1)
    dataset = coco(data, [*LOAD["boxes"], paste_config(data, max_objects=2, blends=["hard"])])
    seen = 0
    for results in (dataset[i] for i in range(len(dataset))):
        new = results.get("num_pasted", 0)
        for box, label in zip(
            results["gt_bboxes"].tensor.numpy()[-new:] if new else [], results["gt_bboxes_labels"][-new:],
            strict=False,
        ):  # fmt: skip
            x, y = ((box[:2] + box[2:]) / 2).astype(int)
            if results["img"][y, x].tolist()[::-1] == list(COLOURS[label]):
                seen += 1
    assert seen >= dataset.pipeline.transforms[-1].counters["pasted"] * 0.9


@pytest.mark.parametrize("form", ["boxes", "bitmap", "polygon"])
def test_donors_in_the_place_of_copy_paste(data, form):
    np.random.seed(2)
    mixed = MultiImageMixDataset(coco(data, LOAD[form]), pipeline=[paste_config(data, bank=None)])
    found = [mixed[i] for i in range(12)]
    for results in found:
        check_consistent(results, form=form)
        assert "mix_results" not in results
    assert sum(r.get("num_pasted", 0) for r in found) >= 6


def test_donors_of_another_size(data):
    resize = dict(type="RandomChoiceResize", scales=[(160, 120), (320, 240), (96, 72)], keep_ratio=True)
    np.random.seed(3)
    mixed = MultiImageMixDataset(
        coco(data, [*LOAD["polygon"], resize]), pipeline=[paste_config(data, bank=None, num_donors=2)]
    )
    for i in range(10):
        check_consistent(mixed[i], form="polygon")


def test_no_chance_takes_nothing_and_touches_nothing(data):
    transform = build(data, prob=0.0)
    results = coco(data, LOAD["boxes"])[0]
    before = results["img"].copy()
    assert transform(results) is results and (results["img"] == before).all() and not transform.counters


@pytest.mark.parametrize("form", ["bitmap", "polygon"])
def test_the_source_is_not_written_to(data, form):
    results = coco(data, LOAD[form])[1]
    donors = [coco(data, LOAD[form])[2]]
    kept = copy.deepcopy((results, donors))
    np.random.seed(4)
    for options in ({}, {"bank": None}):
        build(data, max_objects=4, rules=dict(max_overlap=1.0), **options)({**results, "mix_results": donors})
    for now, before in zip([results, *donors], [kept[0], *kept[1]], strict=True):
        assert (now["img"] == before["img"]).all()
        assert torch.equal(now["gt_bboxes"].tensor, before["gt_bboxes"].tensor)
        assert (now["gt_bboxes_labels"] == before["gt_bboxes_labels"]).all()
        for one, two in zip(now["gt_masks"].masks, before["gt_masks"].masks, strict=True):
            assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(one, two, strict=True))


def test_boxes_without_outline_are_not_pasted_into_masks(data):
    np.random.seed(0)
    transform = build(data, bank="boxes")
    results = transform(coco(data, LOAD["bitmap"])[1])
    assert "num_pasted" not in results and transform.counters["nothing_to_paste"] == 1
    pasted = [transform(coco(data, LOAD["boxes"])[i]).get("num_pasted", 0) for i in range(6)]
    assert sum(pasted) >= 3


def test_objects_that_are_covered_lose_their_label(data):
    np.random.seed(0)
    rules = dict(max_overlap=1.0, num_places=60, anchored_share=1.0)
    transform = build(data, min_objects=6, max_objects=6, min_visible=0.9, rules=rules)
    dataset = coco(data, LOAD["bitmap"])
    for i in range(len(dataset)):
        check_consistent(transform(dataset[i]), form="bitmap")
    assert transform.counters["dropped"] > 0


def test_chance_is_cached_where_mmcv_caches_it(data):
    transform, results = build(data), coco(data, LOAD["boxes"])[1]
    with cache_random_params(transform):
        one, two = (transform(copy.deepcopy(results)) for _ in range(2))
    assert (one["img"] == two["img"]).all()


def test_it_builds_from_a_config_and_survives_pickling(data, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(
        "custom_imports = dict(imports=['augsynth.pasting.transform'], allow_failed_imports=False)\n"
        f"paste = dict(type='AffinityPaste', bank={str(data / 'bank')!r}, affinity={str(data / 'affinity.json')!r},"
        f" metainfo=dict(classes={NAMES!r}), prob=1.0)\n"
    )
    transform = TRANSFORMS.build(Config.fromfile(path).paste)
    results = coco(data, LOAD["boxes"])[1]
    np.random.seed(6)
    one = transform(copy.deepcopy(results))
    np.random.seed(6)
    two = pickle.loads(pickle.dumps(transform))(copy.deepcopy(results))
    assert (one["img"] == two["img"]).all() and transform.classes == NAMES


def test_repr_names_every_argument(data):
    import inspect

    shown = repr(build(data, prob=0.25, gamma=1.5))
    assert all(f"{name}=" in shown for name in inspect.signature(AffinityPaste).parameters)
    assert "prob=0.25" in shown and "gamma=1.5" in shown


def test_annotations_do_in_the_place_of_an_affinity_file(data):
    transform = AffinityPaste(bank=str(data / "bank"), annotations=str(data / "train.json"), prob=1.0)
    assert transform.classes == NAMES
    assert transform(coco(data, LOAD["boxes"])[1])["num_pasted"] >= 1


def test_quotas_and_rarity_shift_the_choice(data):
    dataset = coco(data, LOAD["boxes"])

    def share(**options):
        np.random.seed(7)
        transform, counts = build(data, max_objects=3, **options), np.zeros(3)
        for i in range(len(dataset)):
            results = transform(dataset[i])
            new = results.get("num_pasted", 0)
            counts += np.bincount(
                results["gt_bboxes_labels"][len(results["gt_bboxes_labels"]) - new :], minlength=3
            )
        return counts / counts.sum()

    assert share(quotas=dict(ball=0.0, cube=0.0))[2] == 1
    assert share(gamma=6.0, tau=5.0)[2] > share(gamma=-6.0, tau=5.0)[2]


def test_a_cropped_image_keeps_the_scale_of_its_objects(data):
    pipeline = [*LOAD["boxes"], dict(type="RandomCrop", crop_size=(80, 80), allow_negative_crop=True)]
    np.random.seed(8)
    dataset, transform = coco(data, pipeline), build(data, max_objects=2)
    sides = []
    for i in range(len(dataset)):
        results = transform(dataset[i])
        new = results.get("num_pasted", 0)
        boxes = results["gt_bboxes"].tensor.numpy()[len(results["gt_bboxes"]) - new :]
        sides += (boxes[:, 2:] - boxes[:, :2]).max(axis=1).tolist()
    assert 15 <= np.median(sides) <= 32  # 18 to 30 pixels in the whole images


def results_of(boxes, labels, *, ignored=None, size_wh=SIZE_WH):
    rng = np.random.default_rng(0)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return dict(
        img=rng.integers(105, 125, (size_wh[1], size_wh[0], 3)).astype(np.uint8),
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.array(labels, np.int64),
        gt_ignore_flags=np.array(ignored if ignored is not None else [False] * len(boxes), bool),
    )


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (results_of([], []), "no_annotations"),
        (results_of([[10, 10, 60, 60]], [0], ignored=[True]), "only_crowds"),
        (results_of([[1, 1, 3, 3]], [0], size_wh=(12, 9)), "no_place"),
        (dict(results_of([[9, 9, 30, 30]], [0]), img=np.zeros((120, 160), np.uint8)), "not_colour"),
    ],
)
def test_what_cannot_be_pasted_into_passes_unchanged_and_is_counted(data, results, reason, caplog):
    transform = build(data)
    before = results["img"].copy()
    after = transform(results)
    assert (after["img"] == before).all() and len(after["gt_bboxes"]) == len(results["gt_bboxes"])
    assert transform.counters[reason] == 1 and "num_pasted" not in after


def test_an_empty_image_can_be_pasted_into_on_request(data):
    np.random.seed(0)
    assert build(data, into_empty=True)(results_of([], []))["num_pasted"] >= 1


def test_a_damaged_cutout_is_left_out_and_counted(data, tmp_path):
    path = tmp_path / "bank"
    write_bank(path)
    pixels = path / "cutouts.bin"
    content = bytearray(pixels.read_bytes())
    start = int(len(content) * 0.4)
    content[start:] = b"\x07" * (len(content) - start)
    pixels.write_bytes(content)
    transform = TRANSFORMS.build(paste_config(data, bank=None) | dict(bank=str(path), max_objects=3))
    np.random.seed(0)
    for _ in range(8):
        transform(results_of([[20, 30, 40, 50], [70, 40, 92, 62]], [0, 1]))
    assert transform.counters["damaged_cutout"] > 0 and transform.counters["pasted"] > 0


def bad(data, tmp_path):
    write_bank(tmp_path / "others", names=("zebra", "yak"))
    with BankWriter(tmp_path / "empty", categories=[Category(1, "ball")]):
        pass
    (tmp_path / "broken.json").write_text("{")
    affinity = dict(affinity=str(data / "affinity.json"))
    return {
        "missing bank": (dict(affinity, bank=str(tmp_path / "nowhere")), "nowhere"),
        "other categories": (dict(affinity, bank=str(tmp_path / "others")), "zebra"),
        "empty bank": (dict(affinity, bank=str(tmp_path / "empty")), "empty"),
        "no affinity": (dict(bank=str(data / "bank")), "affinity="),
        "both": (dict(affinity, annotations="x.json"), "either"),
        "broken affinity": (dict(affinity=str(tmp_path / "broken.json")), "broken.json"),
        "missing annotations": (dict(annotations=str(tmp_path / "no.json")), "no.json"),
        "unknown class": (dict(affinity, classes=("ball", "bowl")), "bowl"),
        "other order": (dict(affinity, classes=("cube", "ball", "plate")), "order"),
        "prob": (dict(affinity, prob=1.5), "prob"),
        "objects": (dict(affinity, min_objects=4), "min_objects"),
        "blend": (dict(affinity, blends=["glue"]), "glue"),
        "quota": (dict(affinity, quotas=dict(bowl=1)), "bowl"),
        "tau": (dict(affinity, tau=-1.0), "tau"),
        "rules": (dict(affinity, rules=dict(max_overlapp=0.1)), "max_overlapp"),
        "saturation": (dict(affinity, saturation=0.5), "saturation"),
    }


CASES = (
    "missing bank,other categories,empty bank,no affinity,both,broken affinity,missing annotations,unknown class,"
    "other order,prob,objects,blend,quota,tau,rules"
)


@pytest.mark.parametrize("case", CASES.split(","))
def test_wrong_options_stop_when_the_config_loads(data, tmp_path, case):
    options, said = bad(data, tmp_path)[case]
    with pytest.raises(AugsynthError, match=said) as error:
        AffinityPaste(**options)
    assert "\n" not in str(error.value)


def test_donor_mode_outside_of_mixing_says_what_to_do(data):
    with pytest.raises(ConfigError, match="MultiImageMixDataset"):
        build(data, bank=None)(results_of([[9, 9, 30, 30]], [0]))


def test_labels_beyond_the_classes_say_so(data):
    with pytest.raises(ConfigError, match="classes"):
        build(data, classes=("ball", "cube"))(results_of([[9, 9, 30, 30]], [2]))


def test_part_of_the_categories_is_enough(data):
    np.random.seed(0)
    transform = build(data, classes=("cube", "plate"))
    results = transform(results_of([[60, 40, 82, 62]], [0]))
    assert set(results["gt_bboxes_labels"].tolist()) <= {0, 1} and results["num_pasted"] >= 1


def test_the_bank_is_mapped_not_held(data):
    transform = build(data)
    assert len(pickle.dumps(transform)) < 2_000_000 and len(Bank.open(data / "bank")) == 12
