"""The autoencoder's loss."""

import numpy as np
import pytest
import torch

from augsynth.training.painter.autoencoder import principal_kernel


def test_principal_components_of_blocks_have_unit_variance_and_tell_hues_apart() -> None:
    rng = np.random.default_rng(0)
    hues = np.array([[150, 100, 100], [100, 150, 100], [100, 100, 150], [125, 125, 125]])
    images = np.repeat(np.repeat(hues[rng.integers(4, size=(24, 8, 8))], 4, 1), 4, 2).astype(np.uint8)
    kernel = principal_kernel(images, cell=4, num_channels=2)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    found = torch.nn.functional.conv2d(pixels, kernel, stride=4)
    assert kernel.shape == (2, 3, 4, 4)
    assert found.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.02)
    means = [found.permute(0, 2, 3, 1)[(images[:, ::4, ::4] == hue).all(-1)].mean(0) for hue in hues[:3]]
    assert min(float((a - b).norm()) for i, a in enumerate(means) for b in means[:i]) > 1
