"""What a LoRA is trained and checked on."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from augsynth.core.scene import Category, Dataset, Scene
from augsynth.training.lora.data import hold_out


def test_of_every_category_images_stay():
    boxes = np.array([[1.0, 1, 9, 9]])
    scenes = tuple(
        Scene(
            i, f"{i}.png", (32, 32), boxes, np.array([1 if i < 18 else 2]), np.array([i]), np.array([False])
        )
        for i in range(20)
    )
    data = Dataset((Category(1, "can"), Category(2, "jar")), scenes, {}, Path("a.json"))
    kept, held = hold_out(data, data.categories, share=0.3, seed=1)
    assert len(held.scenes) == 6 and len(kept.scenes) == 14
    assert sum(s.category_ids[0] == 2 for s in kept.scenes) == 2
    assert {s.image_id for s in kept.scenes}.isdisjoint(s.image_id for s in held.scenes)
    few = replace(data, scenes=scenes[:8])
    assert hold_out(few, data.categories, share=0.1, seed=1) == (few, None)
