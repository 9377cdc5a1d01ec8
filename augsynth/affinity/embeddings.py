"""Text embeddings of category names: from a file, or from the text encoder of a checkpoint."""

from __future__ import annotations

import hashlib
import json
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.hub import ModelSource, find_model, first_line
from augsynth.core.scene import FloatArray

NAME_TEMPLATE = "a {}"
_CLIP_TYPES = ("clip", "clip_text_model")
_PLACES = (("", ""), ("text_encoder", "tokenizer"))  # a CLIP model itself, or a diffusers pipeline

# of a damaged .npy, .npz or .json file
_DAMAGED = (
    ValueError,
    TypeError,
    EOFError,
    RecursionError,
    OverflowError,
    SyntaxError,
    MemoryError,
    TokenError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """One vector a category.

    Attributes:
        vectors: (C, D) float64, of any length above 0.
        origin: Where they came from, for the record.

    Raises:
        ValueError: The vectors aren't a matrix of finite rows, none of them zero.
    """

    vectors: FloatArray
    origin: str = ""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not self.vectors.size or not np.isfinite(self.vectors).all():
            raise ValueError(f"embeddings must be finite numbers of shape (C, D), not {self.vectors.shape}")
        if not self.vectors.any(axis=1).all():
            raise ValueError(f"embedding {int(np.argmin(self.vectors.any(axis=1)))} is all zero")

    @property
    def cosines(self) -> FloatArray:
        """(C, C) symmetric cosines, 1 on the diagonal."""
        scaled = self.vectors / np.abs(self.vectors).max(axis=1, keepdims=True)
        unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
        cosines = np.clip(unit @ unit.T, -1, 1)
        np.fill_diagonal(cosines, 1.0)
        return np.asarray((cosines + cosines.T) / 2, np.float64)


def read_embeddings(path: Path, names: Sequence[str]) -> Embeddings:
    """Read a file of embeddings and put them in the order of the names.

    Args:
        path: `.npy` with a row a category in the order of the annotation file, or `.npz` or `.json` with a
            vector a name; further names are left out. Case, accents' encoding and underscores don't matter.
        names: The dataset's category names in file order.

    Raises:
        ConfigError: The file can't be read, doesn't fit the names or holds something else than vectors.
    """
    readers = {".npy": _read_rows, ".npz": _read_archive, ".json": _read_object}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: embeddings are read from {', '.join(readers)}; convert the file")
    try:
        content = path.read_bytes()
        vectors = readers[path.suffix](path, names)
        if vectors.shape[:1] != (len(names),):
            raise ConfigError(
                f"{path}: {vectors.shape[0] if vectors.ndim else 0} rows for {len(names)} categories; write one "
                "row a category, in the order of the annotation file"
            )
        origin = f"{path.name} (sha256 {hashlib.sha256(content).hexdigest()})"
        return Embeddings(vectors, origin)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror or error}); check the path") from None
    except (*_DAMAGED, zipfile.BadZipFile) as error:
        first = (str(error).splitlines() or ["damaged"])[0]
        raise ConfigError(f"{path}: no embeddings ({first}); write finite vectors of one length") from None


def _read_rows(path: Path, names: Sequence[str]) -> FloatArray:
    return np.asarray(np.load(path, allow_pickle=False), np.float64)


def _read_archive(path: Path, names: Sequence[str]) -> FloatArray:
    with np.load(path, allow_pickle=False) as archive:
        return _by_name(path, {name: archive[name] for name in archive.files}, names)


def _read_object(path: Path, names: Sequence[str]) -> FloatArray:
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: holds no object; write a vector a category name")
    return _by_name(path, document, names)


def _by_name(path: Path, found: Mapping[str, Any], names: Sequence[str]) -> FloatArray:
    loose = {_key(name): vector for name, vector in found.items()}
    missing = [name for name in names if name not in found and _key(name) not in loose]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ConfigError(f"{path}: no embedding of {', '.join(missing[:3])}{more}; add a vector for each")
    return np.stack([np.asarray(found.get(n, loose.get(_key(n))), np.float64).ravel() for n in names])


def _key(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())


def encode_names(
    model: str, names: Sequence[str], *, revision: str | None = None, title: str | None = None
) -> Embeddings:
    """Embed "a NAME" with the CLIP text encoder of a checkpoint.

    The vector is the projected one where the encoder has a projection, otherwise the pooled state.

    Args:
        model: Folder or hub id of a transformers CLIP (text) model or of a diffusers pipeline that has one as
            its `text_encoder`.
        names: Category names.
        revision: Commit or tag of a hub id.
        title: What the record calls the model; the model itself when not given.

    Raises:
        BackendError: The model is missing, out of reach, damaged, pickled or no CLIP.
    """
    import torch
    from transformers.utils import logging

    texts = [NAME_TEMPLATE.format(" ".join(unicodedata.normalize("NFC", name).split())) for name in names]
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        encoder, tokenizer = _load_encoder(model, revision)
        tokens = tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=encoder.config.max_position_embeddings,
            return_tensors="pt",
        )
        with torch.no_grad():
            found = encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    finally:
        logging.set_verbosity(verbosity)
    projected = getattr(found, "text_embeds", None)
    vectors: NDArray[Any] = (found.pooler_output if projected is None else projected).numpy()
    return Embeddings(vectors.astype(np.float64), title or model)


def _load_encoder(model: str, revision: str | None) -> tuple[Any, Any]:
    """Return text encoder (float32, in evaluation mode) and tokenizer, from the first place that has one."""
    source = find_model(model, revision=revision, advice="pass a CLIP checkpoint, or --embeddings FILE")
    folder = source.path
    places = [(a, b) for a, b in _PLACES if folder is None or (folder / a / "config.json").is_file()]
    if not places:
        raise BackendError(
            f"{model}: neither a CLIP model (config.json) nor a diffusers pipeline (text_encoder/config.json); "
            "pass such a folder, or --embeddings FILE"
        )
    faults = []
    for encoder_dir, tokenizer_dir in places:
        try:
            return _load_from(source, encoder_dir, tokenizer_dir)
        except BackendError:
            raise
        except Exception as error:  # from_pretrained raises whatever its parts raise
            faults.append(first_line(error))
    raise BackendError(
        f"{model}: its text encoder can't be loaded ({faults[-1]}); weights must be safetensors; without a "
        "network pass a folder, or --embeddings FILE"
    )


def _load_from(source: ModelSource, encoder_dir: str, tokenizer_dir: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoConfig, AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection

    model, place = source.name, source.place
    options: dict[str, Any] = {"subfolder": encoder_dir, **source.options()}
    config = AutoConfig.from_pretrained(place, **options)
    if config.model_type not in _CLIP_TYPES:
        raise BackendError(
            f"{model}: its text encoder is a {config.model_type} model, not CLIP; pass another checkpoint or "
            "--embeddings FILE"
        )
    plain = "CLIPTextModel" in (config.architectures or ())
    kind: Any = CLIPTextModel if plain else CLIPTextModelWithProjection
    encoder, info = kind.from_pretrained(
        place, **options, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[0]
        raise BackendError(f"{model}: the weights of {missing} are missing; pass a whole CLIP checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(place, **(options | {"subfolder": tokenizer_dir}))
    return encoder.eval(), tokenizer
