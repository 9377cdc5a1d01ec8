"""Judge of docs/method.md §4: how well each alignment mode keeps the surroundings, and what it costs.

    python -m benchmarks.judges.alignment [--annotations FILE --images DIR] [--model embedded] [--num 32] [--steps 25]

Windows around real objects are repainted with the object's category; the picture that comes out of the autoencoder,
before anything is stitched, is compared with the window outside the mask (PSNR). `autoencoder` is what encoding and
decoding alone leave: no mode can be better. Seconds are the processor's (the wall's on a GPU), after one warm-up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import grow_box, square_window
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.inpainting.loading import load_inpainter
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.prompts.book import category_prompt
from augsynth.inpainting.stitching import cut_window, mask_cells
from augsynth.placement.proposal import PlacementRules


def draw_requests(dataset: Dataset, painter: Any, *, num: int, seed: int) -> list[InpaintRequest]:
    """Return requests for windows around real objects, as `generate` cuts them."""
    names = {c.id: c.name for c in dataset.categories}
    objects = [(scene, i) for scene in dataset.scenes for i in np.flatnonzero(~scene.is_crowd)]
    requests: list[InpaintRequest] = []
    rules = PlacementRules(model_window=painter.size)
    for place in derive_rng(seed, "alignment judge").permutation(len(objects)):
        scene, i = objects[place]
        mask = grow_box(scene.boxes_xyxy[i], factor=1.15, pad=0.5)
        window = square_window(mask, scene.size_wh, context=rules.window_context, min_side=rules.min_side)
        if window is None:
            continue
        requests.append(
            InpaintRequest(
                cut_window(read_image(dataset, scene), window, size=painter.size),
                mask_cells(mask, window, num_cells=painter.size // painter.cell),
                category_prompt(names[int(scene.category_ids[i])]),
                derive_seed(seed, int(scene.annotation_ids[i])),
            )
        )
        if len(requests) == num:
            break
    return requests


def mean_psnr(painter: Any, requests: Sequence[InpaintRequest], pictures: Sequence[Any]) -> float:
    """Return the mean PSNR in dB of what lies outside the mask."""
    values = []
    for request, picture in zip(requests, pictures, strict=True):
        outside = ~np.kron(request.cells, np.ones((painter.cell,) * 2, bool))
        error = ((picture.astype(float) - request.image)[outside] ** 2).mean()
        values.append(10 * np.log10(255**2 / max(error, 1e-9)))
    return float(np.mean(values))


def through_autoencoder(painter: Any, requests: Sequence[InpaintRequest]) -> list[Any]:
    """Return the windows as the autoencoder gives them back."""
    import torch

    pictures = []
    for request in requests:
        pixels = torch.from_numpy(np.array(request.image)).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            latents = painter.vae.encode(pixels.to(painter.vae.device, painter.vae.dtype)).latent_dist.mode()
            decoded = painter.vae.decode(latents).sample[0].float().clamp(-1, 1).permute(1, 2, 0)
        pictures.append((decoded.cpu().numpy() + 1) * 127.5)
    return pictures


def main() -> None:
    """Print one line a mode."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("--annotations", "--images"):
        parser.add_argument(flag)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", default="cpu")
    for flag, value in (("--num", 32), ("--steps", 25), ("--batch-size", 8), ("--seed", 42)):
        parser.add_argument(flag, type=int, default=value)
    args = parser.parse_args()
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        if args.annotations is None:
            from augsynth.sample import write_sample

            args.annotations = write_sample(Path(folder), num_images=max(8, args.num // 2), seed=args.seed)
            args.images = Path(folder) / "images"
        dataset = read_dataset(Path(args.annotations), images=Path(args.images))
        requests: list[InpaintRequest] = []
        base = 0.0
        print(f"{args.model}, {args.steps} steps\nmode          PSNR dB  s/window  cost")
        for mode in ("off", "renoise", "inversion"):
            painter = load_inpainter(
                args.model,
                device=args.device,
                steps=args.steps,
                alignment=mode,
                batch_size=args.batch_size,
                precision="float32",
            )
            if not requests:
                requests = draw_requests(dataset, painter, num=args.num, seed=args.seed)
                print(
                    f"autoencoder  {mean_psnr(painter, requests, through_autoencoder(painter, requests)):8.2f}"
                )
                painter.inpaint(requests[:1])
            start = clock()
            pictures = painter.inpaint(requests)
            spent = (clock() - start) / len(requests)
            base = base or spent
            psnr = mean_psnr(painter, requests, pictures)
            print(f"{mode:12s} {psnr:8.2f}  {spent:8.3f}  {spent / base:4.2f}", flush=True)


if __name__ == "__main__":
    main()
