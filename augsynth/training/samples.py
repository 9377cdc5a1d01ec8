"""Pictures to look at while a model trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from augsynth.core.scene import Image
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.inpainting.port import Inpainter, InpaintRequest
from augsynth.training.windows import Windows


def write_samples(painter: Inpainter, windows: Windows, prompts: Sequence[str], path: Path) -> None:
    """Paint up to four windows a prompt; write sources with the mask's edge in red above the results.

    Args:
        prompts: Text of each label of `windows`.
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
    size = sources[0].shape[0]
    columns = 8
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * 2 * (size + 2), columns * (size + 2), 3), 255, np.uint8)
    for i, (source, request, picture) in enumerate(zip(sources, requests, pictures, strict=True)):
        y, x = (i // columns) * 2 * (size + 2), (i % columns) * (size + 2)
        hole = np.kron(request.cells, np.ones((painter.cell, painter.cell), bool))
        shown = source.copy()
        edge = hole & ~_eroded(hole)
        shown[edge] = (255, 0, 0)
        sheet[y : y + size, x : x + size] = shown
        sheet[y + size + 2 : y + 2 * size + 2, x : x + size] = np.where(hole[..., None], picture, source)
    _save(sheet, path, zoom=2 if size <= 256 else 1)


def _eroded(hole: Any) -> Any:
    inner = hole.copy()
    inner[1:] &= hole[:-1]
    inner[:-1] &= hole[1:]
    inner[:, 1:] &= hole[:, :-1]
    inner[:, :-1] &= hole[:, 1:]
    return inner


def write_reconstructions(autoencoder: Any, windows: Windows, path: Path) -> None:
    """Write sixteen windows above what the autoencoder makes of them."""
    import torch

    picks = derive_rng(42, "reconstructions").permutation(len(windows.images))[:16]
    pixels = torch.from_numpy(windows.images[picks]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        decoded = autoencoder.decode(
            autoencoder.encode(pixels.to(autoencoder.device)).latent_dist.mean
        ).sample
    shown = ((decoded.float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = [
        np.concatenate(list(part), 1)
        for part in (windows.images[picks[:8]], shown[:8], windows.images[picks[8:]], shown[8:])
        if len(part)
    ]
    width = min(r.shape[1] for r in rows)
    sheet = np.concatenate([r[:, :width] for r in rows])
    _save(sheet, path, zoom=2)


def _save(sheet: Image, path: Path, *, zoom: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size_wh = (sheet.shape[1] * zoom, sheet.shape[0] * zoom)
    PilImage.fromarray(sheet).resize(size_wh, PilImage.Resampling.NEAREST).save(path)
