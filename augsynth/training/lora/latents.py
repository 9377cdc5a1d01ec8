"""What a LoRA training looks at: windows as latents, encoded once, and texts as conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.cache import cached
from augsynth.core.scene import Dataset, Image, IntArray, Scene
from augsynth.core.seeding import derive_seed
from augsynth.inpainting.aligned import AlignedInpainter
from augsynth.inpainting.conditioning import Condition, join
from augsynth.training.loop import Progress, processes
from augsynth.training.windows import WindowRules, Windows, cut_windows

if TYPE_CHECKING:
    import torch

CHUNK = 64  # windows that are held as pixels at a time
PIXELS_A_PASS = 2 * 512 * 512


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Windows as the denoiser sees them, on the CPU.

    Attributes:
        whole: (N, C, h, w) float16 scaled latents.
        masked: The same with the mask greyed out; empty for a plain UNet, which isn't shown them.
        cells: (N, 1, h, w) uint8, 1 where the mask is.
        labels: (N,) int64, 0 for background, i + 1 for the dataset's i-th category.
    """

    whole: torch.Tensor
    masked: torch.Tensor
    cells: torch.Tensor
    labels: IntArray

    def __len__(self) -> int:
        return len(self.labels)


def cache_latents(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    painter: AlignedInpainter,
    *,
    rules: WindowRules,
    seed: int,
    folder: Path,
    key: str,
    progress: Progress,
) -> Latents:
    """Cut windows in chunks and encode them; chunks found in the folder with the same key are taken as they are.

    However many and large the windows, only a chunk of them is ever held as pixels. Several processes share the
    chunks.

    Raises:
        DatasetError: The dataset has no object that a window can hold.
    """
    import torch

    state = processes(painter.unet.device.type)
    starts = range(0, rules.num_windows, CHUNK)

    def chunk(start: int) -> dict[str, torch.Tensor]:
        chosen = replace(rules, num_windows=min(CHUNK, rules.num_windows - start))

        def encoded() -> dict[str, torch.Tensor]:
            windows = cut_windows(dataset, read_image, rules=chosen, seed=derive_seed(seed, "chunk", start))
            return encode_chunk(painter, windows)

        name = f"{start:07d}.pt"
        found: dict[str, torch.Tensor] = cached(folder / name, f"{key} {chosen.num_windows}", encoded)
        return found

    for start in starts[state.process_index :: state.num_processes]:
        chunk(start)
        progress("encoding", min(start + CHUNK, rules.num_windows), rules.num_windows, 0.0)
    state.wait_for_everyone()
    parts = [chunk(start) for start in starts]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Latents(joined["whole"], joined["masked"], joined["cells"], joined["labels"].numpy())


def encode_chunk(painter: AlignedInpainter, windows: Windows) -> dict[str, torch.Tensor]:
    """Return what `Latents` holds, with the labels as a tensor."""
    import torch

    vae, unet = painter.vae, painter.unet
    cells = torch.from_numpy(windows.cells)[:, None]
    found: dict[str, list[torch.Tensor]] = {"whole": [], "masked": []}
    batch = max(1, PIXELS_A_PASS // painter.size**2)
    for low in range(0, len(cells), batch):
        pixels = torch.from_numpy(windows.images[low : low + batch]).permute(0, 3, 1, 2).float() / 127.5 - 1
        hole = cells[low : low + batch].float()
        keep = 1 - torch.nn.functional.interpolate(hole, size=pixels.shape[-2:], mode="nearest")
        pictures = {"whole": pixels} if painter.plain else {"whole": pixels, "masked": pixels * keep}
        for name, picture in pictures.items():
            with torch.no_grad():
                posterior = vae.encode(picture.to(unet.device, vae.dtype)).latent_dist
            found[name].append((posterior.mean.float() * vae.config.scaling_factor).half().cpu())
    whole = torch.cat(found["whole"]).contiguous()
    return {
        "whole": whole,
        "masked": torch.cat(found["masked"]).contiguous() if found["masked"] else whole[:, :0].clone(),
        "cells": cells.to(torch.uint8),
        "labels": torch.from_numpy(windows.labels),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """The texts of a training and which of them each window has.

    Attributes:
        condition: One row a text; row 0 is no text at all, as under guidance.
        of_window: (N,) int64 rows.
    """

    condition: Condition
    of_window: IntArray

    def rows(self, chosen: NDArray[np.int64], device: Any) -> Condition:
        """Return the condition of the chosen rows."""
        import torch

        index = torch.from_numpy(chosen)
        table = self.condition
        words, *added = (
            None if values is None else values.cpu()[index].to(device)
            for values in (table.words, table.pooled, table.sizes)
        )
        assert words is not None  # every text has them
        return Condition(words, *added)


def encode_texts(painter: AlignedInpainter, prompts: Sequence[str], *, further: Sequence[str] = ()) -> Texts:
    """Encode each distinct text once.

    Args:
        prompts: One a window.
        further: Texts that no window needs to have.
    """
    from functools import reduce

    import torch

    distinct = sorted({*prompts, *further})
    place = {text: row for row, text in enumerate(distinct, start=1)}
    with torch.no_grad():
        rows = [painter.conditioner.unwanted([""])]
        rows += [painter.conditioner.wanted([text]) for text in distinct]
    return Texts(reduce(join, rows), np.array([place[text] for text in prompts], np.int64))
