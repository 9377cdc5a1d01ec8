"""Objects of other images pasted in while a detector learns."""

from dataclasses import replace

import numpy as np

from augsynth.core.scene import Dataset, Image, Scene
from augsynth.training.detector.augment import Example
from augsynth.training.detector.examples import ExampleStream
from augsynth.training.detector.pasting import Pasting
from tests.tiny_shapes import CATEGORIES, shapes_dataset


def rare_bars(count: int, *, rare: int) -> tuple[Dataset, dict[str, Image]]:
    """Shapes of which only so many are bars; file order of the categories isn't that of their ids."""
    dataset, images = shapes_dataset(count)
    scenes = []
    for scene in dataset.scenes:
        keep = scene.category_ids == 3
        for k in np.flatnonzero(~keep):
            if rare:
                keep[k], rare = True, rare - 1
            else:
                x1, y1, x2, y2 = scene.boxes_xyxy[k].astype(int)
                images[scene.file_name][y1:y2, x1:x2] = 115
        cut = {
            n: getattr(scene, n)[keep] for n in ("boxes_xyxy", "category_ids", "annotation_ids", "is_crowd")
        }
        scenes.append(replace(scene, **cut))
    return replace(dataset, categories=CATEGORIES[::-1], scenes=tuple(scenes)), images


def test_pasted_objects_are_what_their_labels_say_and_mostly_rare(tmp_path):
    dataset, images = rare_bars(30, rare=3)

    def read(scene: Scene) -> Image:
        return images[scene.file_name]

    def examples(pasting: Pasting | None) -> list[Example]:
        stream = ExampleStream(
            dataset,
            read,
            canvas_wh=(96, 64),
            image_scale=1.0,
            batch_size=30,
            seed=1,
            vertical_flip=False,
            repeat_threshold=0.0,
            cache_mb=100,
            pasting=pasting,
        )
        return [example for step in range(4) for example in stream.batch(step)]

    pasting = Pasting.of(dataset, read, folder=tmp_path / "bank", prob=1.0, turned=False)
    plain, pasted = examples(None), examples(pasting)
    counts = [np.bincount(np.concatenate([e.labels for e in some]), minlength=3) for some in (plain, pasted)]
    assert counts[1].sum() > 1.3 * counts[0].sum()
    assert counts[1][1] > 5 * counts[0][1]  # label 1 is the bar
    right = []
    for example in pasted:
        for (x1, y1, x2, y2), label in zip(example.boxes_xyxy, example.labels, strict=True):
            if min(x2 - x1, y2 - y1) >= 8:
                middle = example.image[int(y1 + y2) // 2, int(x1 + x2) // 2].astype(int)
                right.append((middle.mean() > 115) == (label == 1))
    assert len(right) > 200
    assert np.mean(right) > 0.98
    again = examples(pasting)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(pasted, again, strict=True))
    off = examples(replace(pasting, prob=0.0))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(plain, off, strict=True))


def test_nothing_is_pasted_without_objects_to_cut_or_into_crowds(tmp_path):
    dataset, images = shapes_dataset(6)
    crowds = tuple(replace(s, is_crowd=np.ones(len(s), np.bool_)) for s in dataset.scenes)

    def read(scene: Scene) -> Image:
        return images[scene.file_name]

    assert (
        Pasting.of(replace(dataset, scenes=crowds), read, folder=tmp_path / "a", prob=1, turned=False) is None
    )
    pasting = Pasting.of(dataset, read, folder=tmp_path / "b", prob=1.0, turned=True)
    scene = dataset.scenes[0]
    hidden = Example(images[scene.file_name], scene.boxes_xyxy, np.full(len(scene), -1))
    assert pasting(hidden, np.random.default_rng(0)) is hidden
