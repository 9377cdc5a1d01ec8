"""A mask head for detectors of boxes: from a box to the outline of what it holds.

A small U-Net (Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015) sees the box with a margin, resized to a square, and
where each pixel lies in the box. It knows no categories: one head serves all of a dataset, rare ones too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import nn

from augsynth.core.devices import autocast
from augsynth.core.errors import BackendError
from augsynth.core.scene import FloatArray, Image

MASK_HEAD_FILE = "mask_head.safetensors"
SIDE_PX = 64
MARGIN = 1.3  # side of what is seen over the side of the box
WIDTHS = (16, 32, 64, 96)
BATCH_SIZE = 16  # fixed, so that a mask doesn't depend on how many objects are looked at together


class MaskNetwork(nn.Module):
    """A U-Net from (N, 5, 64, 64), three colours in [-1, 1] and two coordinates, to (N, 64, 64) logits."""

    def __init__(self) -> None:
        super().__init__()
        inner = range(len(WIDTHS) - 1)
        self.down = nn.ModuleList(
            [_block(5, WIDTHS[0]), *(_block(WIDTHS[k], WIDTHS[k + 1], stride=2) for k in inner)]
        )
        self.up = nn.ModuleList([_block(WIDTHS[k + 1] + WIDTHS[k], WIDTHS[k]) for k in reversed(inner)])
        self.out = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the logits of crops."""
        features = crops
        levels = []
        for block in self.down:
            features = block(features)
            levels.append(features)
        for block, level in zip(self.up, levels[-2::-1], strict=True):
            larger = nn.functional.interpolate(features, scale_factor=2.0)
            features = block(torch.cat([larger, level], dim=1))
        logits: torch.Tensor = self.out(features)[:, 0]
        return logits


def _block(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1),
        nn.GroupNorm(8, channels_out),
        nn.SiLU(),
        nn.Conv2d(channels_out, channels_out, 3, 1, 1),
        nn.GroupNorm(8, channels_out),
        nn.SiLU(),
    )


def seen_xyxy(box_xyxy: FloatArray, *, margin: float = MARGIN) -> FloatArray:
    """Return the (4,) rectangle that is seen of a box, `margin` times as wide and high; it may leave the image."""
    centre, half = (box_xyxy[:2] + box_xyxy[2:]) / 2, (box_xyxy[2:] - box_xyxy[:2]) / 2 * margin
    return np.concatenate([centre - half, centre + half])


def cut_crop(image: Image, box_xyxy: FloatArray, *, margin: float = MARGIN, side_px: int = SIDE_PX) -> Image:
    """Return the (side_px, side_px, 3) uint8 crop of a box with its margin; the image's border is continued outside."""
    seen = seen_xyxy(box_xyxy, margin=margin)
    low = np.floor(seen[:2]).astype(int)
    high = np.maximum(np.ceil(seen[2:]).astype(int), low + 1)
    rows = np.clip(np.arange(low[1], high[1]), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(low[0], high[0]), 0, image.shape[1] - 1)
    part = PIL.Image.fromarray(image[np.ix_(rows, columns)])
    x1, y1, x2, y2 = (float(v) for v in seen - np.tile(low, 2))
    resized = part.resize((side_px, side_px), PIL.Image.Resampling.BILINEAR, box=(x1, y1, x2, y2))
    return np.asarray(resized, np.uint8)


def as_inputs(colours: torch.Tensor) -> torch.Tensor:
    """Return the (N, 5, 64, 64) input of (N, 3, 64, 64) crops with colours in [0, 1]."""
    line = (torch.arange(SIDE_PX, device=colours.device) + 0.5) / SIDE_PX * 2 - 1
    line = line * MARGIN  # the box's sides lie at -1 and 1
    grid = torch.stack([line[None, :].expand(SIDE_PX, -1), line[:, None].expand(-1, SIDE_PX)])
    return torch.cat([colours * 2 - 1, grid[None].expand(len(colours), -1, -1, -1)], dim=1)


class MaskHead:
    """A trained head.

    Args:
        network: Trained.
        device: A torch device.
    """

    def __init__(self, network: MaskNetwork, *, device: str = "cpu") -> None:
        self._network = network.eval().to(device)
        self._device = device

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> MaskHead | None:
        """Load the head of a detector folder, None where the folder has none.

        Raises:
            BackendError: The file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = folder / MASK_HEAD_FILE
        if not path.is_file():
            return None
        network = MaskNetwork()
        try:
            network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise BackendError(f"{path}: no mask head ({reason}); train the detector again") from None
        return cls(network, device=device)

    def masks(self, image: Image, boxes_xyxy: FloatArray) -> NDArray[np.bool_]:
        """Return the (N, H, W) masks of what (N, 4) boxes of an HWC uint8 image hold."""
        found = np.zeros((len(boxes_xyxy), *image.shape[:2]), np.bool_)
        for start in range(0, len(boxes_xyxy), BATCH_SIZE):
            boxes = boxes_xyxy[start : start + BATCH_SIZE]
            crops = torch.from_numpy(np.stack([cut_crop(image, box) for box in boxes]))
            colours = crops.permute(0, 3, 1, 2).float().div(255).to(self._device)
            with torch.inference_mode(), autocast(self._device):
                chances = self._network(as_inputs(colours)).sigmoid().float().cpu().numpy()
            for k, (box, chance) in enumerate(zip(boxes, chances, strict=True)):
                _put(found[start + k], chance, box)
        return found


def _put(mask: NDArray[np.bool_], chances: NDArray[np.float32], box_xyxy: FloatArray) -> None:
    """Draw the (64, 64) chances of a box into the (H, W) mask of its image."""
    seen = seen_xyxy(box_xyxy)
    height, width = mask.shape
    x1, y1 = np.clip(np.floor(seen[:2]).astype(int), 0, [width, height])
    x2, y2 = np.clip(np.ceil(seen[2:]).astype(int), 0, [width, height])
    if x2 <= x1 or y2 <= y1:
        return
    scale = SIDE_PX / (seen[2:] - seen[:2])
    extent = (
        (x1 - seen[0]) * scale[0],
        (y1 - seen[1]) * scale[1],
        (x2 - seen[0]) * scale[0],
        (y2 - seen[1]) * scale[1],
    )
    part = PIL.Image.fromarray(chances, mode="F").transform(
        (int(x2 - x1), int(y2 - y1)), PIL.Image.Transform.EXTENT, extent, PIL.Image.Resampling.BILINEAR
    )
    mask[y1:y2, x1:x2] = np.asarray(part) > 0.5


def write_mask_head(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a head's weights into a detector folder, as float16."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().to(torch.float16).contiguous() for name, tensor in state.items()}
    (folder / MASK_HEAD_FILE).write_bytes(save(weights))
