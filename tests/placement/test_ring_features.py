"""Ring features: what surrounds a box, by integral images, and nothing of what is in it."""

import numpy as np
import pytest

from augsynth.placement.ring_features import NUM_SUMMARY, Rings, ring_summary

BOX = np.array([[40.0, 30, 60, 50]])


def noise(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_inside_of_a_box_is_not_seen() -> None:
    image = noise(1, 120, 160)
    box = np.array([[40.0, 40, 80, 76]])
    other, third = image.copy(), image.copy()
    other[42:74, 42:78] = 255
    third[10:30, 30:90] = 255
    before, after, beside = (Rings.of(i).signatures(box) for i in (image, other, third))
    # The image's own mean and the smoothed bands may change a little, nothing else.
    np.testing.assert_allclose(before, after, atol=0.02)
    assert np.abs(before - beside).max() > 0.05


def test_ring_means_are_those_of_the_pixels() -> None:
    image = noise(0)
    light = image.astype(float).mean(axis=2) / 255
    inner, outer = np.s_[26:54, 36:64], np.s_[18:62, 28:72]
    ring = (light[outer].sum() - light[inner].sum()) / (light[outer].size - light[inner].size)
    got = Rings.of(image)
    assert got.signatures(BOX)[0, 0] == pytest.approx(ring, abs=0.02)
    assert got.mean[0] == pytest.approx(light.mean())


def test_a_large_image_is_reduced_and_boxes_stay_in_its_own_pixels() -> None:
    ground = np.zeros((600, 800, 3), np.uint8)
    ground[:, 400:] = 200
    rings = Rings.of(ground)
    assert rings.scale == pytest.approx(256 / 800)
    dark, bright = rings.signatures(np.array([[100.0, 250, 200, 350], [600, 250, 700, 350]]))[:, 0]
    assert dark == pytest.approx(0, abs=0.01) and bright == pytest.approx(200 / 255, abs=0.01)


def test_the_summary_is_the_near_rings_colour_and_spread() -> None:
    plain = np.full((90, 120, 3), (200, 100, 50), np.uint8)
    red, green, blue = np.array([200, 100, 50]) / 255
    summary = ring_summary(Rings.of(plain).features(BOX)[0])
    wanted = [(red + green + blue) / 3, red - green, (red + green) / 2 - blue, 0]
    assert summary == pytest.approx(wanted, abs=1e-3)
    half = plain.copy()
    half[:, :50] = 0
    assert ring_summary(Rings.of(half).features(BOX)[0])[3] > 0.1
    unknown = ring_summary(np.zeros(0))
    assert len(unknown) == NUM_SUMMARY and np.isnan(unknown).all()


def test_what_lies_outside_the_image_counts_for_nothing() -> None:
    image = noise(3)
    whole = np.array([[0.0, 0, 120, 90]])
    features = Rings.of(image).features(np.concatenate([whole, [[100.0, 70, 119, 89]]]))
    assert np.isfinite(features).all()
    assert features[0, :3] == pytest.approx(Rings.of(image).mean[:3])  # no ring is left: the image's own mean


def test_the_same_bytes_wherever_the_memory_lies():
    image = np.full((60, 80, 3), 90, np.uint8)
    image[10:30, 10:30] = (200, 30, 30)
    boxes, rng = np.array([[10.0, 10, 30, 30], [40, 20, 70, 50]]), np.random.default_rng(0)
    wanted, held = Rings.of(image).features(boxes), []
    for _ in range(50):
        held.append(np.empty(int(rng.integers(1, 300_000)), np.uint8))
        if len(held) > 10:
            held.pop(int(rng.integers(10)))
        assert np.array_equal(Rings.of(image.copy()).features(boxes), wanted)
