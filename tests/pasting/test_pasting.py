"""Pasting without MMDetection: blending, what stays visible, outlines, and the choice of places."""

from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.masks import bounds_of, fill_polygons, trace_outer
from augsynth.core.scene import Category, Dataset, Scene
from augsynth.pasting.estimated_outline import with_outline
from augsynth.pasting.options import blend_weights, read_rules
from augsynth.pasting.patch import Blend, Patch, membrane, opacity, paste
from augsynth.pasting.placer import PasteRules, Placer
from augsynth.pasting.source_objects import SourceImage, image_objects
from augsynth.pasting.surroundings import Surroundings
from augsynth.pasting.target import Labels, PasteTarget
from augsynth.pasting.visibility import pixel_region, recut_box
from augsynth.placement.layout import Layout


def disc(side, radius, *, centre=None):
    centre = (side / 2, side / 2) if centre is None else centre
    y, x = np.mgrid[:side, :side] + 0.5
    return np.hypot(x - centre[0], y - centre[1]) <= radius


def round_patch(side=30, radius=9, *, colour=200, behind=100, has_mask=True):
    mask = disc(side, radius)
    image = np.full((side, side, 3), behind, np.uint8)
    image[mask] = colour
    alpha = mask if has_mask else np.zeros((side, side), bool)
    box = bounds_of(mask)
    if not has_mask:
        alpha[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    return Patch(image, alpha.astype(np.uint8) * 255, box, has_mask)


def scene_of(boxes, size_wh=(100, 80), crowd=None):
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    n = len(boxes)
    ids = np.ones(n, np.int64)
    return Scene(0, "", size_wh, boxes, ids, np.arange(n), np.array(crowd or [False] * n, bool))


def canvas_of(boxes, *, masks=None, crowd=None, size_wh=(100, 80)):
    scene = scene_of(boxes, size_wh, crowd)
    image = np.full((size_wh[1], size_wh[0], 3), 100, np.uint8)
    return PasteTarget(image, scene, Labels(scene.boxes_xyxy, scene.category_ids, scene.is_crowd, masks))


@pytest.mark.parametrize("blend", list(Blend))
@pytest.mark.parametrize("has_mask", [True, False])
def test_only_what_lies_under_the_softened_patch_changes(blend, has_mask):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (80, 100, 3)).astype(np.uint8)
    before, patch = image.copy(), round_patch(has_mask=has_mask)
    region, shown = paste(image, patch, np.array([40, 20]), blend=blend)
    assert image.dtype == np.uint8 and region.tolist() == [40, 20, 70, 50]
    outside = np.ones(image.shape[:2], bool)
    outside[20:50, 40:70] = opacity(patch, blend) == 0
    assert (image[outside] == before[outside]).all()
    assert shown[15, 15] and (image[20:50, 40:70][shown] != before[20:50, 40:70][shown]).any()


def test_hard_pixels_are_either_old_or_new():
    image = np.zeros((80, 100, 3), np.uint8)
    paste(image, round_patch(), np.array([5, 5]), blend=Blend.HARD)
    assert set(np.unique(image)) == {0, 200}


def test_a_box_is_never_pasted_with_a_hard_edge():
    soft = opacity(round_patch(has_mask=False), Blend.HARD)
    assert len(np.unique(soft)) > 4


def test_poisson_carries_the_difference_of_backgrounds_over():
    image = np.full((80, 100, 3), 110, np.uint8)
    paste(image, round_patch(), np.array([20, 20]), blend=Blend.POISSON)
    assert abs(int(image[35, 35, 0]) - 210) <= 2 and abs(int(image[21, 21, 0]) - 110) <= 1


def test_membrane_continues_smoothly_and_stays_within_its_limit():
    known = ~disc(60, 15)
    slope = np.repeat(np.linspace(-10, 10, 60, dtype=np.float32)[None, :, None], 60, axis=0)
    slope = np.repeat(slope, 3, axis=2)
    filled = membrane(slope * known[..., None], known, limit=60)
    assert np.abs(filled - slope).max() < 3
    assert np.abs(membrane(slope * 100, known, limit=25)).max() <= 25.001
    assert not membrane(slope, np.zeros((60, 60), bool), limit=60).any()


@pytest.mark.parametrize("low", [(-20, -20), (95, 70), (-200, 0), (40, -29)])
def test_what_reaches_outside_is_cut(low):
    image = np.zeros((80, 100, 3), np.uint8)
    region, shown = paste(image, round_patch(), np.array(low), blend=Blend.FEATHER)
    x1, y1, x2, y2 = region
    assert (shown.shape == (y2 - y1, x2 - x1) and 0 <= x1 <= x2 <= 100) or not shown.size


def test_patches_flip_scale_and_trim_with_their_boxes():
    patch = round_patch(side=40, radius=8)
    assert np.allclose(patch.flipped().fitted_box(), patch.box_xyxy)
    half = patch.scaled(0.5)
    assert half.alpha.shape == (20, 20) and np.allclose(half.box_xyxy, patch.box_xyxy / 2)
    assert np.abs(half.fitted_box() - half.box_xyxy).max() <= 1
    tight = patch.trimmed(0.1)
    assert (
        tight.alpha.shape < patch.alpha.shape
        and bounds_of(tight.alpha > 0).tolist() == tight.box_xyxy.tolist()
    )


def test_objects_next_to_their_pictures_border_are_known():
    patch = round_patch(side=40, radius=8)
    assert not patch.is_cut_off()
    assert Patch(patch.image[:28], patch.alpha[:28], patch.box_xyxy, True).is_cut_off()
    tight = Patch(patch.image[12:28, 12:28], patch.alpha[12:28, 12:28], np.array([0.0, 0, 16, 16]), True)
    assert not tight.is_cut_off()  # no margin anywhere says nothing


def test_a_pasted_box_fits_what_is_seen():
    target = canvas_of([[2, 2, 12, 12]])
    for blend in Blend:
        assert target.paste(round_patch(), np.array([40.3, 30.6, 58, 49]), 7, blend=blend)
    labels, before = target.settle(min_visible=0.0)
    seen = (target.image[..., 0] != 100) & (np.abs(target.image[..., 0].astype(int) - 200) < 60)
    assert np.abs(labels.boxes_xyxy[-1] - bounds_of(seen)).max() <= 1.5
    assert labels.category_ids.tolist()[:1] == [1] and before[0] == 0 and before[-1] == -1


def test_the_source_stays_as_it_was():
    masks = np.zeros((1, 80, 100), np.uint8)
    masks[0, 10:40, 10:40] = 1
    target = canvas_of([[10, 10, 40, 40]], masks=masks)
    target.paste(round_patch(), np.array([20.0, 20, 38, 38]), 1, blend=Blend.HARD)
    labels, _ = target.settle(min_visible=0.1)
    assert masks.sum() == 900 and labels.masks[0].sum() == 900 - labels.masks[1].sum()


def covering(target, box, colour=220):
    side = np.array(box[2:]) - box[:2]
    image = np.full((int(side[1]), int(side[0]), 3), colour, np.uint8)
    patch = Patch(image, np.full(image.shape[:2], 255, np.uint8), np.array([0, 0, *side], np.float64), True)
    target.paste(patch, np.array(box, np.float64), 2, blend=Blend.HARD)


def test_covered_boxes_are_cut_to_what_is_left_or_dropped():
    target = canvas_of([[10, 10, 30, 30], [50, 10, 70, 30], [10, 50, 20, 60]])
    covering(target, [10, 10, 20, 30])
    covering(target, [48, 8, 66, 32])
    labels, before = target.settle(min_visible=0.3)
    assert before.tolist() == [0, 2, -1, -1]
    assert labels.boxes_xyxy[0].tolist() == [20, 10, 30, 30]
    assert labels.boxes_xyxy[1].tolist() == [10, 50, 20, 60]


@pytest.mark.parametrize("form", ["bitmap", "polygon"])
def test_covered_masks_are_cut_alike_in_both_forms(form):
    shapes = [disc(80, 15, centre=(25, 25)), disc(80, 15, centre=(60, 25)), disc(80, 5, centre=(25, 65))]
    masks = np.stack(shapes).astype(np.uint8)
    given = masks if form == "bitmap" else [trace_outer(shape) for shape in shapes]
    target = canvas_of([bounds_of(s) for s in shapes], masks=given, size_wh=(80, 80))
    covering(target, [0, 0, 25, 50])
    covering(target, [47, 8, 80, 50])
    labels, before = target.settle(min_visible=0.3)
    assert before.tolist() == [0, 2, -1, -1]
    assert np.abs(labels.boxes_xyxy[0] - [25, 10, 40, 40]).max() <= 1
    everything = np.array([0, 0, 80, 80])
    left = labels.masks[0] > 0 if form == "bitmap" else fill_polygons(labels.masks[0], everything)
    true = shapes[0].copy()
    true[:50, :25] = False
    assert (left & true).sum() / (left | true).sum() > 0.93


@pytest.mark.parametrize("form", ["boxes", "bitmap", "polygon"])
def test_crowds_are_never_cut_or_dropped(form):
    mask = np.zeros((1, 80, 100), np.uint8)
    mask[0, 10:30, 10:30] = 1
    outlines = [[np.array([10, 10, 30, 10, 30, 30, 10, 30], np.float32)]]
    masks = {"boxes": None, "bitmap": mask, "polygon": outlines}[form]
    target = canvas_of([[10, 10, 30, 30]], crowd=[True], masks=masks)
    covering(target, [5, 5, 20, 40])
    labels, before = target.settle(min_visible=0.5)
    assert before.tolist() == [0, -1] and labels.boxes_xyxy[0].tolist() == [10, 10, 30, 30]
    assert labels.is_crowd.tolist() == [True, False]
    assert masks is None or np.array_equal(labels.masks[0], masks[0])


def test_later_objects_hide_earlier_pasted_ones():
    target = canvas_of([])
    covering(target, [10, 10, 30, 30])
    covering(target, [10, 10, 32, 32])
    _, before = target.settle(min_visible=0.3)
    assert before.tolist() == [-1]


def test_recut_box_keeps_fractions_where_nothing_is_hidden():
    box = np.array([10.4, 10.2, 30.7, 29.9])
    region = pixel_region(box, (100, 80))
    same, share = recut_box(box, np.zeros((20, 21), bool), region)
    assert same.tolist() == box.tolist() and share == 1


def test_traced_polygons_enclose_their_pixels():
    shape = disc(60, 20, centre=(28, 31))
    back = fill_polygons(trace_outer(shape, low_xy=np.array([100, 200])), np.array([100, 200, 160, 260]))
    assert (back & shape).sum() / (back | shape).sum() > 0.95


def test_an_outline_is_found_where_object_and_surroundings_differ():
    rng = np.random.default_rng(0)
    patch = round_patch(side=60, radius=20, colour=190, behind=90, has_mask=False)
    noisy = np.clip(patch.image + rng.normal(0, 8, patch.image.shape), 0, 255).astype(np.uint8)
    found = with_outline(Patch(noisy, patch.alpha, patch.box_xyxy, False))
    true = disc(60, 20)
    assert found is not None and found.estimated
    shown = found.alpha >= 128
    assert (shown & true).sum() / (shown | true).sum() > 0.85
    plain = rng.normal(120, 8, patch.image.shape).clip(0, 255).astype(np.uint8)
    plain[:, :30] = 40
    assert with_outline(Patch(plain, patch.alpha, np.array([2.0, 2, 58, 58]), False)) is None


def test_rings_tell_surroundings_apart_in_either_channel_order():
    image = np.full((60, 90, 3), 60, np.uint8)
    image[:, 45:] = (200, 40, 90)
    boxes = np.array([[15.0, 20, 25, 30], [65, 20, 75, 30]])
    rings = Surroundings.of(image).rings(boxes)
    assert np.linalg.norm(rings[0] - rings[1]) > 0.3
    assert np.allclose(rings, Surroundings.of(image[..., ::-1], bgr=True).rings(boxes))


def beside_dataset(num=40):
    """Category 2 always stands right of category 1."""
    rng = np.random.default_rng(3)
    scenes = []
    for i in range(num):
        x, y = rng.uniform(10, 60), rng.uniform(20, 60)
        boxes = np.array([[x, y, x + 12, y + 12], [x + 20, y, x + 30, y + 12]])
        scenes.append(Scene(i, f"{i}.png", (120, 90), boxes, np.array([1, 2]), np.array([2 * i + 1, 2 * i + 2]),
                            np.zeros(2, bool)))  # fmt: skip
    return Dataset((Category(1, "a"), Category(2, "b")), tuple(scenes), {}, Path("x.json"))


@pytest.fixture(scope="module")
def layout():
    return Layout.fit(beside_dataset())


def source_image(num=4):
    rng = np.random.default_rng(5)
    image = rng.integers(90, 110, (90, 120, 3)).astype(np.uint8)
    low = np.array([[20.0 + 22 * k, 40] for k in range(num)])
    boxes = np.hstack([low, low + np.array([10, 12])])
    return SourceImage(image, boxes, np.full(num, 2), np.ones(num, bool), None)


def choose(layout, *, scene=None, seed=0, used=(), size=120, turn_prob=0.0, **rules):
    scene = scene or Scene(0, "", (120, 90), np.array([[30.0, 40, 42, 52]]), np.array([1]), np.array([1]),
                           np.zeros(1, bool))  # fmt: skip
    sources = image_objects([source_image()], min_size=4, bgr=False)
    image = np.full((scene.size_wh[1], scene.size_wh[0], 3), 100, np.uint8)
    placer, area = Placer(layout, PasteRules(**rules)), float(scene.size_wh[0] * scene.size_wh[1])
    rng, around = np.random.default_rng(seed), Surroundings.of(image)
    [places] = placer.propose(scene, [2], surroundings=around, reference_area=area, rng=rng)
    return placer.choose(
        scene, places, sources=sources, reference_area=area, used=used, rng=rng, turn_prob=turn_prob
    )


def test_places_follow_the_layout_and_the_rules(layout):
    chosen = [choose(layout, seed=s) for s in range(40)]
    found = [c for c in chosen if c is not None]
    assert len(found) > 30
    centres = np.array([(c.box_xyxy[:2] + c.box_xyxy[2:]) / 2 for c in found])
    beside = (np.abs(centres[:, 1] - 46) < 9) & (centres[:, 0] > 44) & (centres[:, 0] < 70)
    assert beside.mean() > 0.5
    boxes = np.array([c.box_xyxy for c in found])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (120, 90)).all()
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert (sides > 5).all() and (sides < 19).all()


def test_the_same_generator_state_gives_the_same_place(layout):
    one, two = choose(layout, seed=9), choose(layout, seed=9)
    assert one.position == two.position and one.box_xyxy.tolist() == two.box_xyxy.tolist()


def test_a_cutout_is_not_taken_twice(layout):
    taken = {choose(layout, seed=s, used={0, 1, 2}) for s in range(12)}
    assert {c.position for c in taken if c} == {3}
    assert choose(layout, used={0, 1, 2, 3}) is None


def test_an_image_too_small_for_every_object_has_no_place(layout):
    tiny = Scene(0, "", (12, 9), np.array([[3.0, 3, 5, 5]]), np.array([1]), np.array([1]), np.zeros(1, bool))
    assert choose(layout, scene=tiny) is None


def test_a_turned_cutout_takes_a_box_of_turned_sides(layout):
    found = [c for seed in range(30) if (c := choose(layout, seed=seed, turn_prob=1.0)) is not None]
    assert {c.quarters for c in found} == {1, 2, 3}
    for c in found:
        width, height = c.box_xyxy[2:] - c.box_xyxy[:2]
        assert width / height == pytest.approx(12 / 10 if c.quarters % 2 else 10 / 12)
    plain = [choose(layout, seed=seed) for seed in range(5)]
    assert {c.quarters for c in plain if c is not None} == {0}


def test_donors_leave_out_what_is_cut_off_ignored_or_mixed_up():
    image = np.zeros((90, 120, 3), np.uint8)
    boxes = np.array(
        [
            [0.0, 10, 12, 22],
            [30, 30, 45, 45],
            [42, 30, 57, 45],
            [80, 50, 95, 65],
            [60, 5, 62, 7],
            [80, 10, 95, 25],
        ]
    )
    usable = np.array([True, True, True, True, True, False])
    found = SourceImage(image, boxes, np.ones(6, np.int64), usable, None).candidates(4.0)
    assert found.tolist() == [3]


def test_a_donor_without_outlines_brings_along_what_its_box_shows():
    image = np.zeros((90, 120, 3), np.uint8)
    boxes = np.array([[30.0, 30, 70, 60], [35, 35, 45, 45], [60, 50, 80, 60], [50, 35, 58, 52]])
    usable = np.array([True, True, True, False])
    image_of = SourceImage(image, boxes, np.array([1, 2, 3, 4]), usable, None)
    assert (
        0 not in image_of.candidates(4.0).tolist()
    )  # it shows an ignore region, which nothing can be said of
    image_of = SourceImage(image, boxes[:3], np.array([1, 2, 3]), usable[:3], None)
    assert image_of.candidates(4.0).tolist() == [0]
    patch = image_of.cut(0)
    assert patch.other_ids.tolist() == [2, 3]
    inside = patch.others_xyxy - np.tile(patch.box_xyxy[:2], 2)
    assert inside.tolist() == [[5, 5, 15, 15], [30, 20, 40, 30]]  # the second is cut at the box


def test_what_comes_along_follows_its_patch_and_enters_the_labels():
    image = np.full((30, 40, 3), 90, np.uint8)
    image[12:18, 8:14] = 250
    alpha = np.zeros((30, 40), np.uint8)
    alpha[5:25, 5:35] = 255
    box, others = np.array([5.0, 5, 35, 25]), np.array([[8.0, 12, 14, 18]])
    patch = Patch(image, alpha, box, False, others_xyxy=others, other_ids=np.array([7]))
    scene = Scene(0, "", (120, 90), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), np.zeros(0, bool))
    labels = Labels(scene.boxes_xyxy, scene.category_ids, scene.is_crowd, None)
    quarters = [patch.turned(k) for k in (1, 2, 3)]
    for turned in (
        patch,
        patch.flipped(),
        patch.trimmed(0.0),
        patch.scaled(2.0),
        *quarters,
        quarters[0].scaled(2.0),
    ):
        target = PasteTarget(np.full((90, 120, 3), 90, np.uint8), scene, labels)
        assert target.paste(turned, np.array([20.0, 20, 50, 40]), 3, blend=Blend.FEATHER)
        found, before = target.settle(min_visible=0.3)
        assert target.num_pasted == 2 and before.tolist() == [-1, -1]
        assert found.category_ids.tolist() == [3, 7]
        bright = bounds_of((target.image > 170).all(axis=2))
        assert np.abs(found.boxes_xyxy[1] - bright).max() <= 1


def test_what_comes_along_lies_no_lower_than_its_box_and_can_be_covered():
    image, alpha = np.full((30, 40, 3), 90, np.uint8), np.full((30, 40), 255, np.uint8)
    box, others = np.array([0.0, 0, 40, 30]), np.array([[0.0, 0, 10, 30]])
    patch = Patch(image, alpha, box, False, others_xyxy=others, other_ids=np.array([7]))
    plain = Patch(image, alpha, box, False)
    scene = Scene(0, "", (120, 90), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), np.zeros(0, bool))
    labels = Labels(scene.boxes_xyxy, scene.category_ids, scene.is_crowd, None)
    target = PasteTarget(np.zeros((90, 120, 3), np.uint8), scene, labels)
    target.paste(patch, np.array([50.0, 20, 90, 50]), 3, blend=Blend.FEATHER)
    target.paste(plain, np.array([22.0, 20, 62, 50]), 3, blend=Blend.FEATHER)  # hides the other object
    found, _ = target.settle(min_visible=0.3)
    assert found.category_ids.tolist() == [3, 3]


@pytest.mark.parametrize("fields", [{"max_overlap": 2}, {"typo": 1}, {"temperature": 0}])
def test_wrong_rules_are_refused_by_name(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        read_rules(fields)


@pytest.mark.parametrize("blends", [["glue"], [], {"hard": -1}, {"hard": 0}])
def test_wrong_blends_are_refused(blends):
    with pytest.raises(ConfigError, match="blends"):
        blend_weights(blends)
