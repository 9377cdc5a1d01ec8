"""AffinityPaste in the loader workers of MMDetection's pipelines."""

import numpy as np
import pytest
import torch

from tests.pasting.discs import write_all
from tests.pasting.mmdet_pipelines import LOAD, coco, paste_config

pytestmark = pytest.mark.mmdet


@pytest.fixture(scope="module", autouse=True)
def scope():
    from mmengine.registry import init_default_scope

    import augsynth.pasting.transform  # noqa: F401  # registers it

    init_default_scope("mmdet")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


def test_a_pipeline_with_cached_mosaics_and_packing_in_workers(data):
    from mmengine.dataset import pseudo_collate, worker_init_fn

    pipeline = [
        *LOAD["boxes"],
        paste_config(data),
        dict(type="CachedMosaic", img_scale=(96, 96), max_cached_images=5, random_pop=False),
        dict(type="RandomResize", scale=(192, 192), ratio_range=(0.5, 1.5), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(96, 96)),
        dict(type="Pad", size=(96, 96)),
        dict(type="CachedMixUp", img_scale=(96, 96), max_cached_images=5, random_pop=False),
        dict(type="PackDetInputs"),
    ]

    def draw(seed):
        torch.manual_seed(seed)
        loader = torch.utils.data.DataLoader(
            coco(data, pipeline), batch_size=4, num_workers=2, collate_fn=pseudo_collate,
            worker_init_fn=lambda i: worker_init_fn(i, num_workers=2, rank=0, seed=seed),
        )  # fmt: skip
        return [batch for batch in loader]

    one, two, other = draw(1), draw(1), draw(2)
    for batch in one:
        assert all(image.dtype == torch.uint8 for image in batch["inputs"])
        assert all(len(s.gt_instances.bboxes) == len(s.gt_instances.labels) for s in batch["data_samples"])

    def equal(these, those):
        images = [
            (a, b)
            for x, y in zip(these, those, strict=True)
            for a, b in zip(x["inputs"], y["inputs"], strict=True)
        ]
        return [torch.equal(a, b) for a, b in images]

    assert all(equal(one, two)) and not all(equal(one, other))


class Drawn(torch.utils.data.Dataset):
    """Images whose chance is numpy's generator, seeded by their number."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 4

    def __getitem__(self, index):
        np.random.seed(index)
        found = self.dataset[index]
        return found["img"].tobytes(), found["gt_bboxes"].tensor.numpy().tobytes()


@pytest.mark.parametrize("form", ["boxes", "bitmap"])
def test_numpys_generator_alone_decides_in_any_number_of_workers(data, form):
    """Nothing is carried over from the images that a worker had before."""
    dataset = Drawn(coco(data, [*LOAD[form], paste_config(data)]))
    plain = coco(data, LOAD[form])
    found = [list(torch.utils.data.DataLoader(dataset, None, num_workers=num)) for num in (0, 1, 4)]
    assert found[0] == found[1] == found[2]
    assert all(found[0][k][0] != plain[k]["img"].tobytes() for k in range(len(dataset)))


class Repeated(torch.utils.data.Dataset):
    """The same image again and again, so that only chance tells samples apart."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.dataset[1]["img"]


def test_workers_draw_differently(data):
    from mmengine.dataset import pseudo_collate, worker_init_fn

    dataset = Repeated(coco(data, [*LOAD["boxes"], paste_config(data)]))
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=1, num_workers=2, collate_fn=pseudo_collate,
        worker_init_fn=lambda i: worker_init_fn(i, num_workers=2, rank=0, seed=5),
    )  # fmt: skip
    images = {batch[0].tobytes() for batch in loader}
    assert len(images) >= 7
