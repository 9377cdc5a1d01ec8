"""Put a LoRA into a loaded pipeline, after a look at whom it was made for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError
from augsynth.core.hub import ModelSource, first_line, is_hub_id
from augsynth.inpainting.checkpoints import OFFLINE_ADVICE

_DOWN = re.compile(
    r"^(?:unet|transformer)\.(.+?)(?:\.lora_A(?:\.\w+)?|\.lora\.down|_lora\.down|\.lora_linear_layer\.down)\.weight$"
)


def find_lora(lora: str) -> tuple[ModelSource, str | None]:
    """Return where a LoRA is and the file in it, None for the hub's choice.

    Args:
        lora: A .safetensors file, a folder with one, `owner/name` or `owner/name/file.safetensors` on the hub.

    Raises:
        BackendError: There is no such file, or it is pickled.
    """
    path = Path(lora)
    if path.is_dir():
        files = sorted(f.name for f in path.glob("*.safetensors"))
        preferred = [name for name in files if name == "pytorch_lora_weights.safetensors"] or files
        if len(preferred) != 1:
            found = f"{len(files)} .safetensors files" if files else "no .safetensors file"
            raise BackendError(f"{lora}: {found} in it; pass the LoRA's file")
        return ModelSource(lora, path), preferred[0]
    if path.is_file() or path.suffix in (".bin", ".pt", ".ckpt"):
        if path.suffix != ".safetensors":
            raise BackendError(
                f"{lora}: not a .safetensors file; code in pickled weights could run, convert it"
            )
        return ModelSource(lora, path.parent), path.name
    owner, _, rest = lora.partition("/")
    name, _, file = rest.partition("/")
    if not is_hub_id(f"{owner}/{name}"):
        raise BackendError(f"{lora}: no such LoRA file or folder, nor a hub id like owner/name")
    return ModelSource(f"{owner}/{name}", None), file or None


def add_lora(pipeline: Any, lora: str, *, scale: float, name: str) -> None:
    """Add a LoRA's weights, times `scale`, to those of a diffusers pipeline.

    Args:
        pipeline: The pipeline, changed in place.
        lora: See `find_lora`.
        scale: 1 is as it was trained.
        name: The pipeline's checkpoint, for errors.

    Raises:
        BackendError: The LoRA is out of reach, damaged or for another family, or the pipeline takes none.
    """
    if not hasattr(pipeline, "load_lora_weights"):
        raise BackendError(f"{name}: {type(pipeline).__name__} takes no LoRA; leave `lora` out")
    source, file = find_lora(lora)
    options = source.options() | ({"weight_name": file} if file else {})
    unet = getattr(pipeline, "unet", None)
    large = {"unet_config": unet.config} if "XL" in type(pipeline).__name__ and unet is not None else {}
    try:
        read = pipeline.lora_state_dict(source.place, use_safetensors=True, **options, **large)
        weights = read[0] if isinstance(read, tuple) else read
    except OSError as error:
        raise BackendError(f"{lora}: can't be fetched ({first_line(error)}); {OFFLINE_ADVICE}") from error
    except Exception as error:  # the converters raise whatever an unknown naming leads them to
        raise BackendError(f"{lora}: not a LoRA for {name} ({first_line(error)})") from error
    check_fits(weights, pipeline, lora=lora, name=name)
    try:
        pipeline.load_lora_weights(source.place, adapter_name="lora", use_safetensors=True, **options)
        pipeline.fuse_lora(lora_scale=scale)
        pipeline.unload_lora_weights()
    except Exception as error:
        raise BackendError(f"{lora}: can't be added to {name} ({first_line(error)})") from error


def check_fits(weights: Mapping[str, Any], pipeline: Any, *, lora: str, name: str) -> None:
    """Compare a LoRA's layers with the denoiser's.

    Raises:
        BackendError: Most layers are missing there, or one has another width: the LoRA is for another family.
    """
    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    layers = dict(denoiser.named_modules()) if denoiser is not None else {}
    found = {
        m[1].replace(".processor", ""): weight for key, weight in weights.items() if (m := _DOWN.match(key))
    }
    if not found and any(key.startswith("text_encoder") for key in weights):
        return
    there = {key: layers.get(key) or layers.get(f"{key}.0") for key in found}
    missing = [key for key, layer in there.items() if layer is None]
    if 2 * len(missing) > len(found):
        raise BackendError(f"{lora}: a LoRA for another family than {name}, which has no layer {missing[0]}")
    for key, weight in found.items():
        inner = getattr(there[key], "weight", None)
        if inner is not None and inner.shape[1] != weight.shape[1]:
            raise BackendError(
                f"{lora}: a LoRA for another family than {name}: {key} takes {inner.shape[1]} numbers there, "
                f"{weight.shape[1]} here"
            )
    if not found:
        raise BackendError(f"{lora}: holds no LoRA for {name}; it is for another family, or no LoRA at all")
