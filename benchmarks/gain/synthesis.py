"""What the arms train on besides their share: painted data sets, banks of cut-outs, affinity files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from augsynth.generation.config import GenerateConfig, plain_config
from benchmarks.command import run_augsynth
from benchmarks.gain.arms import FROM_REAL, SWITCHES, Arm, Recipe
from benchmarks.gain.cells import claim
from benchmarks.gain.sources import Source


@dataclass(frozen=True)
class Budget:
    """How long the models of a share are trained where no embedded ones know the data."""

    detector_steps: int
    autoencoder_steps: int
    decoder_steps: int
    denoiser_steps: int
    num_windows: int


BUDGETS = {
    "blood_cells": Budget(300, 800, 200, 1500, 6000),
    "aerial_maritime": Budget(500, 1000, 200, 2500, 8000),
    "aquarium": Budget(600, 1000, 200, 2500, 8000),
    "face_mask": Budget(600, 1000, 200, 2500, 8000),
    "car_damage": Budget(600, 1000, 200, 2500, 8000),
}


class Busy(Exception):
    """Another process is making what is needed."""


@dataclass(frozen=True)
class Workshop:
    """Makes things of one share, each once.

    Attributes:
        source: The data set.
        share: COCO file of the images that may be seen.
        folder: Where things of this share go.
        device: Torch device for painting.
    """

    source: Source
    share: Path
    folder: Path
    device: str = "cpu"

    def affinity(self) -> Path:
        """Return the affinity file of the share."""
        out = self.folder / "affinity.json"
        self._run("build-affinity", "--annotations", self.share, "--out", out, done=out)
        return out

    def bank(self) -> Path:
        """Return the bank of the share's real objects."""
        out = self.folder / "bank_real"
        self._run("bank", *self._data(), "--out", out, "--min-size", 6, done=out / "bank.json")
        return out

    def models(self, variant: str) -> dict[str, str]:
        """Return who paints and who judges: the embedded models, or some trained on the share alone.

        The embedded painter doesn't know photographs: it may repaint real objects only at a strength that changes
        hardly a pixel. Their filter is trained with objects pasted in, so that it knows them elsewhere, too.
        """
        if self.source.name == "sample":
            return {"model": "embedded", "detector": "embedded"}
        filtered = SWITCHES[variant].get("filter") != "off"
        if variant in FROM_REAL:
            return {"model": "embedded"} | ({"detector": str(self.detector(paste=True))} if filtered else {})
        return {"model": str(self.painter()), "detector": str(self.detector())}

    def detector(self, *, paste: bool = False) -> Path:
        """Return the folder of a detector that was trained on the share, with its objects pasted in or not."""
        out = self.folder / "models" / ("detector_pasted" if paste else "detector")
        options = ["--vertical-flip"] if self.source.from_above else []
        options += ["--paste", "0.7"] if paste else []
        self._run("train-detector", *self._data(), "--out", out, "--steps", BUDGETS[self.source.name].detector_steps,
                  *options, "--device", self.device, done=out / "config.json")  # fmt: skip
        return out

    def painter(self) -> Path:
        """Return the pipeline of a painter that was trained on the share."""
        budget, out = BUDGETS[self.source.name], self.folder / "models" / "painter"
        symmetry = "dihedral" if self.source.from_above else "mirror"
        self._run("train-inpainter", *self._data(), "--out", out, "--autoencoder-steps", budget.autoencoder_steps,
                  "--decoder-steps", budget.decoder_steps, "--denoiser-steps", budget.denoiser_steps,
                  "--num-windows", budget.num_windows, "--symmetry", symmetry, "--device", self.device,
                  done=out / "finished")  # fmt: skip
        (out / "finished").touch()
        return out / "model"

    def painted(self, variant: str, recipe: Recipe) -> Path:
        """Return the run directory of a painted set, with a bank of its objects."""
        num_images = len(json.loads(self.share.read_text("utf-8"))["images"])
        number = min(recipe.max_new, max(1, round(recipe.new_per_image * num_images)))
        models = self.models(variant)
        options: dict[str, Any] = {
            "n": number,
            "annotations": str(self.share),
            "images": str(self.source.images),
            "affinity": str(self.affinity()),
            **models,
            "seed": 42,
            "objects_per_image": recipe.objects_per_image,
            "gamma": recipe.gamma,
            "persistence": recipe.persistence,
            "score_quantile": recipe.score_quantile,
            "rival_factor": recipe.rival_factor,
            "originals": "omit",
            "bank": variant == "augsynth",
            "device": self.device,
            **SWITCHES[variant],
        }
        defaults = plain_config(GenerateConfig())
        options |= {
            name: getattr(recipe, name)
            for name in ("tau", "context", "feather", "decoys")
            if getattr(recipe, name) != (defaults[name] or 0.0)
        }
        if variant in FROM_REAL:
            options |= {"init_images": str(self.bank()), "strength": recipe.strength}
        digest = hashlib.sha256(json.dumps([options, painter_digest(models)], sort_keys=True).encode())
        out = self.folder / f"{variant}_{digest.hexdigest()[:10]}"
        config = self.folder / f"{out.name}.yaml"
        config.write_text(yaml.safe_dump(options | {"out": str(out)}), "utf-8")
        self._run("generate", "--config", config, done=out / "contact_sheet_accepted.png")
        return out

    def _data(self) -> list[object]:
        return ["--annotations", self.share, "--images", self.source.images]

    def _run(self, *arguments: object, done: Path) -> None:
        """Run a command of the tool unless its result is there.

        Raises:
            Busy: Another process is at it.
        """
        if done.exists():
            return
        with claim(self.folder / "claims" / done.relative_to(self.folder).parts[0]) as free:
            if not free:
                raise Busy(done)
            if not done.exists():
                run_augsynth(*arguments)


def painter_digest(models: dict[str, str]) -> list[str | None]:
    """Return digests of the weights that paint and judge, None for a judge that isn't there."""
    from augsynth.generation.provenance import detector_digest, weights_digest

    detector = models.get("detector")
    return [weights_digest(models["model"]), None if detector is None else detector_digest(detector)]


def model_identity(source: Source, arm: Arm) -> dict[str, Any]:
    """Return what a cell with generated objects depends on besides its recipe."""
    if not arm.generated:
        return {}
    if source.name == "sample":
        return {"embedded": painter_digest({"model": "embedded", "detector": "embedded"})}
    if arm.from_real:
        painter, _ = painter_digest({"model": "embedded"})
        steps = (
            None if SWITCHES[str(arm.painted)].get("filter") == "off" else BUDGETS[source.name].detector_steps
        )
        return {"painter": painter, "detector_steps": steps}
    return {"trained_on_share": vars(BUDGETS[source.name])}
