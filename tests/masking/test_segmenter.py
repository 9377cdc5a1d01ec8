"""The promptable segmenter answers as transformers does, and a folder that holds none is named."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage

from augsynth.core.errors import BackendError
from augsynth.core.scene import Category
from augsynth.masking.segmenter import Segmenter
from tests.tiny_segmenters import write_mask2former, write_sam, write_sam2, write_sam_hq

CATEGORIES = [Category(7, "can"), Category(3, "jar")]


WRITERS = {"sam": write_sam, "sam2": write_sam2, "sam_hq": write_sam_hq}


def pictures(num: int = 3) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (64, 30), (50, 50), (33, 71), (64, 64), (20, 40)]
    return [rng.integers(0, 256, (*sizes[k], 3), dtype=np.uint8) for k in range(num)]


@pytest.mark.parametrize("kind", WRITERS)
def test_the_segmenter_answers_as_transformers_does(kind: str, tmp_path: Path) -> None:
    import torch
    import transformers

    folder = WRITERS[kind](tmp_path / kind)
    images = pictures(6)  # more than a batch
    boxes = [np.array([3.0, 4.5, 18.0, 17.0]) + k for k in range(6)]
    found = Segmenter.load(str(folder)).segment(images, boxes)
    again = Segmenter.load(str(folder)).segment(images, boxes)
    network = transformers.AutoModelForMaskGeneration.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    agreements = []
    for image, box, mask, same in zip(images, boxes, found, again, strict=True):
        inputs = processor(
            images=PilImage.fromarray(image), input_boxes=[[box.tolist()]], return_tensors="pt"
        )
        with torch.no_grad():
            outputs = network(**inputs, multimask_output=False)
        sizes = [inputs[key] for key in ("original_sizes", "reshaped_input_sizes") if key in inputs]
        expected = processor.post_process_masks(outputs.pred_masks, *sizes)[0][0, 0].numpy()
        assert mask.shape == image.shape[:2] and (mask == same).all()
        agreements.append((mask == expected).mean())
    assert min(agreements) >= 0.999  # a batch rounds differently from one picture alone
    assert any(0 < mask.mean() < 1 for mask in found)


def test_what_is_no_segmenter_is_one_clear_line(tmp_path: Path) -> None:
    mask2former = write_mask2former(tmp_path / "other", ["can"])
    with pytest.raises(BackendError, match=r"other.*'mask2former' is no promptable segmenter.*--segmenter"):
        Segmenter.load(str(mask2former))
    with pytest.raises(BackendError, match="can't load the segmenter") as error:
        Segmenter.load(str(tmp_path))
    assert "\n" not in str(error.value)
    folder = write_sam(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BackendError, match="can't load the segmenter"):
        Segmenter.load(str(folder))
