"""What a checkpoint says about itself: its pipeline, whether its weights may be read, its licence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.hub import ModelSource, fetch_file, find_model, first_line, is_hub_id
from augsynth.core.yaml_file import MAX_BYTES, parse_yaml

FIGURES = "training.json"  # beside the model_index.json of what `augsynth train-inpainter` wrote
EMBEDDED = Path(__file__).parents[1] / "sample" / "models" / "inpainter"
OFFLINE_ADVICE = (
    "without a network start from your own objects: `augsynth bank`, `augsynth train-detector --paste 0.7`, then "
    "generate with --init-images BANK --detector FOLDER (docs/own-data.md), or pass --model FOLDER (a diffusers folder)"
)
STABLE_DIFFUSION = frozenset(
    {
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "LatentConsistencyModelPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
    }
)
STABLE_DIFFUSION_XL = frozenset(
    {
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
    }
)
# By hub id in lower case, then by pipeline where all its checkpoints share one; what a model card says comes first.
LICENCES = {
    "embedded": "apache-2.0",
    "stable-diffusion-v1-5/stable-diffusion-inpainting": "creativeml-openrail-m",
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": "openrail++",
    "latent-consistency/lcm-lora-sdv1-5": "openrail++",
    "tongyi-mai/z-image-turbo": "apache-2.0",
    "qwen/qwen-image": "apache-2.0",
    "black-forest-labs/flux.1-dev": "flux-1-dev-non-commercial-license",
    "black-forest-labs/flux.1-fill-dev": "flux-1-dev-non-commercial-license",
    "black-forest-labs/flux.1-kontext-dev": "flux-1-dev-non-commercial-license",
    "black-forest-labs/flux.2-dev": "flux-2-dev-non-commercial-license",
    "FluxFillPipeline": "flux-1-dev-non-commercial-license",
    "FluxKontextPipeline": "flux-1-dev-non-commercial-license",
    "Flux2Pipeline": "flux-2-dev-non-commercial-license",
}
_NON_COMMERCIAL = re.compile(r"non-?commercial|(^|[-_ ])nc([-_ ]|$)", re.IGNORECASE)
_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_NOT_LOADED = frozenset({"safety_checker", "feature_extractor", "image_encoder"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A diffusers checkpoint before anything heavy of it is read.

    Attributes:
        source: The folder or hub id that diffusers loads, by the name that the user gave.
        class_name: `_class_name` of its model_index.json.
        licence: What its model card or the table above says, None where neither does.
    """

    source: ModelSource
    class_name: str
    licence: str | None

    @property
    def is_own(self) -> bool:
        """Whether `augsynth train-inpainter` trained it, the embedded one among them."""
        return self.source.path is not None and (self.source.path / FIGURES).is_file()

    @property
    def family(self) -> str:
        """`sd` (1.x and 2.x) or `sdxl`, which our sampler runs, or `other`."""
        if self.class_name in STABLE_DIFFUSION:
            return "sd"
        return "sdxl" if self.class_name in STABLE_DIFFUSION_XL else "other"


def inspect_checkpoint(model: str, *, revision: str | None = None) -> Checkpoint:
    """Read which pipeline a checkpoint is for and under which licence; from the hub only its two small files.

    Args:
        model: `embedded`, a local folder in the diffusers layout, or a hub id.
        revision: Commit or tag of a hub id.

    Raises:
        BackendError: There is no such checkpoint, it is no checkpoint, or its weights are pickled.
    """
    if model == "embedded":
        source = ModelSource(model, EMBEDDED)
    else:
        source = find_model(model, revision=revision, advice=OFFLINE_ADVICE)
    if source.path is not None and source.path.is_file():
        raise BackendError(
            f"{model}: a file; pass a folder in the diffusers layout (it holds model_index.json)"
        )
    layout = "pass a checkpoint in the diffusers layout"
    path = fetch_file(source, "model_index.json", advice=OFFLINE_ADVICE, missing=layout)
    index = _read_index(path, model)
    if source.path is not None:
        _check_weights(source.path, index, model)
    name = index["_class_name"]
    licence = read_licence(model, revision=source.revision) or LICENCES.get(name)
    return Checkpoint(source, name, licence)


def read_licence(model: str, *, revision: str | None = None) -> str | None:
    """Return the licence of a folder or hub id by its model card, else by the table; None where unknown."""
    known = LICENCES.get(model.lower())
    if model == "embedded":
        return known
    path = Path(model)
    if path.exists():
        card: Path | None = (path if path.is_dir() else path.parent) / "README.md"
    else:
        card = _fetch_card(ModelSource(model, None, revision)) if is_hub_id(model) else None
    return _licence_of_card(card) or known


def is_non_commercial(licence: str | None) -> bool:
    """Tell whether a licence's name says that it forbids commercial use."""
    return licence is not None and _NON_COMMERCIAL.search(licence) is not None


def _fetch_card(source: ModelSource) -> Path | None:
    try:
        return fetch_file(source, "README.md", advice="", missing="")
    except (
        BackendError
    ):  # a licence that can't be read is unknown; what matters fails when the model is loaded
        return None


def _read_index(path: Path, model: str) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackendError(
            f"{model}: model_index.json is damaged ({first_line(error)}); fetch it anew"
        ) from error
    name = index.get("_class_name") if isinstance(index, dict) else None
    if isinstance(name, list):
        raise BackendError(
            f"{model}: needs code that comes with it, which isn't run; choose another checkpoint"
        )
    if not isinstance(name, str):
        raise BackendError(
            f"{model}: model_index.json names no pipeline; pass a folder in the diffusers layout"
        )
    return dict(index)


def _check_weights(folder: Path, index: Mapping[str, Any], model: str) -> None:
    """Refuse pickled weights: reading them may run code."""
    for part, what in index.items():
        if part.startswith("_") or part in _NOT_LOADED or not isinstance(what, list) or None in what:
            continue
        files = [path for path in (folder / part).glob("*") if path.is_file()]
        pickled = sorted(path.name for path in files if path.suffix in _PICKLED)
        if pickled and not any(path.suffix == ".safetensors" for path in files):
            raise BackendError(
                f"{model}: {part}/{pickled[0]} is pickled, and code in it could run; convert it to safetensors"
            )


def _licence_of_card(card: Path | None) -> str | None:
    if card is None or not card.is_file():
        return None
    head = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.S)
    try:
        values = parse_yaml(head[1][:MAX_BYTES], source=str(card)) if head else None
    except ConfigError:
        return None
    if not isinstance(values, dict):
        return None
    licence = values.get("license")
    named = values.get("license_name") if licence in ("other", None) else licence
    return str(named or licence) if named or licence else None
