"""Pictures to look at while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.figures import contact_sheet
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.inpainting.port import Inpainter, InpaintRequest
from augsynth.training.windows import Windows


def write_samples(painter: Inpainter, windows: Windows, prompts: Sequence[str], path: Path) -> None:
    """Paint up to four windows a prompt; write each source with the mask's edge in red beside the result.

    Args:
        prompts: Text of each label of `windows`, written below.
    """
    requests, sources = [], []
    for label, prompt in enumerate(prompts):
        for k in np.flatnonzero(windows.labels == label)[:4]:
            seed = derive_seed(42, "sample", int(k))
            requests.append(InpaintRequest(windows.images[k], windows.cells[k], prompt, seed))
            sources.append(windows.images[k])
    if not requests:
        return
    black = np.zeros_like(sources[0])
    pictures = [black if picture is None else picture for picture in painter.inpaint(requests)]
    tiles = []
    for source, request, picture in zip(sources, requests, pictures, strict=True):
        hole = np.kron(request.cells, np.ones((painter.cell, painter.cell), bool))
        shown = source.copy()
        shown[hole & ~_eroded(hole)] = (255, 0, 0)
        tiles.append([shown, np.where(hole[..., None], picture, source)])
    captions = [request.prompt for request in requests]
    title = f"{path.stem}: real window with the hole, and what is painted into it"
    contact_sheet(tiles, path=path, captions=captions, title=title)


def _eroded(hole: Any) -> Any:
    inner = hole.copy()
    inner[1:] &= hole[:-1]
    inner[:-1] &= hole[1:]
    inner[:, 1:] &= hole[:, :-1]
    inner[:, :-1] &= hole[:, 1:]
    return inner


def write_reconstructions(autoencoder: Any, windows: Windows, path: Path) -> None:
    """Write sixteen windows, each beside what the autoencoder makes of it."""
    import torch

    picks = derive_rng(42, "reconstructions").permutation(len(windows.images))[:16]
    pixels = torch.from_numpy(windows.images[picks]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        decoded = autoencoder.decode(
            autoencoder.encode(pixels.to(autoencoder.device)).latent_dist.mean
        ).sample
    shown = ((decoded.float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    tiles = [list(pair) for pair in zip(windows.images[picks], shown, strict=True)]
    title = "reconstructions: real window, and the same through latents and back; painting is no sharper"
    contact_sheet(tiles, path=path, title=title)
