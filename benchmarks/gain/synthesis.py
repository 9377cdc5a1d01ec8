"""What the arms train on besides their share: painted data sets, banks of cut-outs, affinity files."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from augsynth.generation.config import GenerateConfig, plain_config
from benchmarks.command import run_augsynth
from benchmarks.gain.arms import ARMS, FROM_REAL, SWITCHES, Arm, Recipe
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


FILTER, FILTER_SEED = "yolox_nano", 42


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
        start: Weights of YOLOX-Nano that the filter of photographs starts from.
        filter_steps: Optimizer steps of that filter.
    """

    source: Source
    share: Path
    folder: Path
    device: str = "cpu"
    start: Path | None = None
    filter_steps: int = 0

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
        hardly a pixel. Their filter starts from weights of COCO: one from nothing learns too little from a share.
        """
        if self.source.name == "sample":
            return {"model": "embedded", "detector": "embedded"}
        filtered = SWITCHES[variant].get("filter") != "off"
        if variant in FROM_REAL:
            return {"model": "embedded"} | ({"detector": str(self.pretrained_filter())} if filtered else {})
        return {"model": str(self.painter()), "detector": str(self.detector())}

    def pretrained_filter(self) -> Path:
        """Return the folder of YOLOX-Nano, trained on the share with AffinityPaste from its weights of COCO."""
        from benchmarks.gain import training

        out = self.folder / "models" / "pretrained_filter"
        material = training.Material(self.share, banks=(self.bank(),), affinity=self.affinity())
        with self._making(out / "config.py") as due:
            if due:
                config = training.runner_config(
                    self.source,
                    ARMS["paste_real"],
                    Recipe(),
                    material,
                    detector=FILTER,
                    schedule=training.Schedule(self.filter_steps),
                    seed=FILTER_SEED,
                    folder=out,
                )
                training.keep(training.train(config, start=self.start), out)
        return out

    def detector(self) -> Path:
        """Return the folder of a detector that was trained on the share from nothing."""
        out = self.folder / "models" / "detector"
        options = ["--vertical-flip"] if self.source.from_above else []
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
        """Run a command of the tool unless its result is there."""
        with self._making(done) as due:
            if due:
                run_augsynth(*arguments)

    @contextlib.contextmanager
    def _making(self, done: Path) -> Iterator[bool]:
        """Yield whether a result is to be made.

        Raises:
            Busy: Another process is at it.
        """
        if done.exists():
            yield False
            return
        with claim(self.folder / "claims" / "-".join(done.relative_to(self.folder).parts[:2])) as free:
            if not free:
                raise Busy(done)
            yield not done.exists()


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
        filtered = SWITCHES[str(arm.painted)].get("filter") != "off"
        judge = (
            {"filter": [FILTER, FILTER_SEED]} if filtered else {"detector_steps": None}
        )  # its name on record
        return {"painter": painter, **judge}
    return {"trained_on_share": vars(BUDGETS[source.name])}
