"""The classifier of the filter: where the new object's category stands among what its crop could show.

Source of the rule: Nie, Wang, Wang, He, "Diverse Generation while Maintaining Semantic Coordination" (ICPR 2024),
arXiv 2408.02891: the category must be among the top 3 of an image classifier.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import PIL.Image

from augsynth.core.boxes import clip_boxes, square_window
from augsynth.core.errors import BackendError
from augsynth.core.hub import ModelSource, find_model, load_part
from augsynth.core.scene import FloatArray, Image, Standing
from augsynth.filtering.class_labels import Vocabulary, check_top_k, match_labels, texts_of

TEXT_MODELS = ("clip", "siglip")
ADVICE = "pass --classifier a folder or hub id of a transformers image classifier, or of CLIP or SigLIP"
_HEAD = "ForImageClassification"


class Classifier(Protocol):
    """Tells where categories of the dataset stand in pictures of one object each.

    Attributes:
        name: What was loaded, for provenance.
    """

    name: str

    def standings(self, crops: Sequence[Image], category_ids: Sequence[int]) -> list[Standing]:
        """Return where the category asked for stands in each HWC uint8 RGB crop."""
        ...


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a checkpoint's configuration says it is."""

    source: ModelSource
    config: Any
    reads_text: bool


def check_classifier(model: str, vocabulary: Vocabulary, *, revision: str | None, top_k: int) -> None:
    """Read what a classifier knows, from its configuration alone, before anything else is loaded.

    Raises:
        BackendError: There is no such model, or it is no classifier that these adapters know.
        ConfigError: It has no label for a wanted category, or so few that every object would pass.
    """
    kind = _read_kind(model, revision)
    if kind.reads_text:
        texts_of(vocabulary)
    else:
        match_labels(kind.config.id2label, vocabulary, source=model)
    num_labels = len(vocabulary.categories) if kind.reads_text else len(kind.config.id2label)
    check_top_k(top_k, num_labels, source=model)


def load_classifier(
    model: str,
    vocabulary: Vocabulary,
    *,
    revision: str | None = None,
    device: str = "cpu",
    batch_size: int = 8,
) -> Classifier:
    """Load a classifier from a hub id or a local folder; safetensors only, no remote code.

    Args:
        model: A checkpoint with an image classification head, or CLIP or SigLIP, which read the category names.
        vocabulary: What the categories are called.
        revision: Commit or tag of a hub id.
        device: A torch device.
        batch_size: Crops that go through the network together.

    Raises:
        BackendError: It can't be loaded, or is no classifier that these adapters know.
        ConfigError: It has no label for a wanted category.
    """
    transformers: Any = importlib.import_module("transformers")
    import torch

    kind = _read_kind(model, revision)
    auto = transformers.AutoModel if kind.reads_text else transformers.AutoModelForImageClassification
    reader = transformers.AutoProcessor if kind.reads_text else transformers.AutoImageProcessor
    processor = _load(kind.source, reader)
    options = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    network, info = _load(kind.source, auto, **options)
    if info["missing_keys"]:
        part = sorted(info["missing_keys"])[0]
        raise BackendError(f"{model}: its weights lack {part}; {ADVICE}")
    name = kind.source.title
    network = network.eval().to(device)
    shared: dict[str, Any] = {"name": name, "device": device, "batch_size": batch_size}
    if kind.reads_text:
        names = [category.name for category in vocabulary.categories]
        return TextClassifier(network, processor, texts=texts_of(vocabulary), labels=names, **shared)
    id2label = kind.config.id2label
    return LabelClassifier(
        network,
        processor,
        labels_of=match_labels(id2label, vocabulary, source=model),
        labels=[str(id2label.get(k, k)) for k in range(len(id2label))],
        **shared,
    )


def crop_object(image: Image, box_xyxy: FloatArray) -> Image:
    """Return the square around an object that a classifier looks at: its side is the box's longer one.

    Processors cut pictures to squares: of a long box they would see the middle alone. Where no square fits into the
    image, the box itself is the crop.
    """
    size_wh = (image.shape[1], image.shape[0])
    window = square_window(clip_boxes(box_xyxy[None], size_wh)[0], size_wh, context=1.0, min_side=1)
    if window is None:
        low, high = np.floor(box_xyxy[:2]), np.maximum(np.ceil(box_xyxy[2:]), np.floor(box_xyxy[:2]) + 1)
        window = clip_boxes(np.concatenate([low, high])[None], size_wh)[0].astype(np.int64)
    x1, y1, x2, y2 = window
    return np.ascontiguousarray(image[y1:y2, x1:x2])


class LabelClassifier:
    """A classifier with labels of its own (ResNet, ViT, ConvNeXt, …).

    Args:
        labels_of: The labels that stand for each category, by COCO id; the best of them counts.
        labels: What each label is called.
    """

    def __init__(
        self,
        network: Any,
        processor: Any,
        *,
        name: str,
        labels_of: Mapping[int, Sequence[int]],
        labels: Sequence[str],
        device: str,
        batch_size: int,
    ) -> None:
        self.name = name
        self._network = network
        self._processor = processor
        self._labels_of = labels_of
        self._labels = labels
        self._device = device
        self._batch_size = batch_size

    def standings(self, crops: Sequence[Image], category_ids: Sequence[int]) -> list[Standing]:
        """Return where the category asked for stands in each crop."""
        import torch

        found: list[Standing] = []
        with torch.no_grad():
            for start in range(0, len(crops), self._batch_size):
                pictures = [PIL.Image.fromarray(c) for c in crops[start : start + self._batch_size]]
                logits = self._logits(pictures)
                rows = zip(
                    logits.float().cpu().numpy(), self._chances(logits).float().cpu().numpy(), strict=True
                )
                for k, (fit, chances) in enumerate(rows, start):
                    found.append(stand(fit, chances, self._labels_of[category_ids[k]], self._labels))
        return found

    def _logits(self, pictures: list[PIL.Image.Image]) -> Any:
        """Return the (N, L) torch tensor of how well each label fits each picture."""
        inputs = self._processor(images=pictures, return_tensors="pt").to(self._device)
        return self._network(**inputs).logits

    def _chances(self, logits: Any) -> Any:
        """Return the (N, L) probabilities of the labels."""
        alike = getattr(self._network.config, "problem_type", None) == "multi_label_classification"
        return logits.sigmoid() if alike else logits.softmax(-1)


class TextClassifier(LabelClassifier):
    """CLIP and SigLIP: each category is a label, described by one or several texts of which the best counts.

    Args:
        texts: What is said of each category, by COCO id in the dataset's order.
        labels: Their names, in the same order.
    """

    def __init__(
        self,
        network: Any,
        processor: Any,
        *,
        name: str,
        texts: Mapping[int, Sequence[str]],
        labels: Sequence[str],
        device: str,
        batch_size: int,
    ) -> None:
        labels_of = {category_id: [label] for label, category_id in enumerate(texts)}
        super().__init__(
            network,
            processor,
            name=name,
            labels_of=labels_of,
            labels=labels,
            device=device,
            batch_size=batch_size,
        )
        self._lengths = [len(words) for words in texts.values()]
        self._text_vectors = self._encode([text for words in texts.values() for text in words])

    def _encode(self, texts: list[str]) -> Any:
        import torch

        # SigLIP was trained on texts of full length
        padding: Any = "max_length" if self._network.config.model_type == "siglip" else True
        inputs = self._processor(text=texts, padding=padding, truncation=True, return_tensors="pt")
        with torch.no_grad():
            return _unit(self._network.get_text_features(**inputs.to(self._device)))

    def _logits(self, pictures: list[PIL.Image.Image]) -> Any:
        import torch

        inputs = self._processor(images=pictures, return_tensors="pt").to(self._device)
        vectors = _unit(self._network.get_image_features(**inputs))
        fit = vectors @ self._text_vectors.T * self._network.logit_scale.exp()
        fit = fit + getattr(self._network, "logit_bias", 0.0)
        return torch.stack([part.amax(-1) for part in fit.split(self._lengths, dim=-1)], dim=-1)

    def _chances(self, logits: Any) -> Any:
        return logits.sigmoid() if hasattr(self._network, "logit_bias") else logits.softmax(-1)


def stand(fit: FloatArray, chances: FloatArray, labels: Sequence[int], names: Sequence[str] = ()) -> Standing:
    """Return where the best of some labels stands; others that fit as well, or aren't a number, are before it.

    Args:
        fit: (L,) how well each label fits.
        chances: (L,) their probabilities.
        labels: Positions of the labels that are meant.
        names: What the labels are called.
    """
    own = max(labels, key=lambda label: float(fit[label]))
    behind = np.delete(fit, list(labels)) < fit[own]
    best = int(np.nan_to_num(fit, nan=-np.inf).argmax())
    return Standing(
        1 + int((~behind).sum()),
        round(float(np.nan_to_num(chances[own])), 6),
        names[best] if names else "",
    )


def _unit(output: Any) -> Any:
    vectors = getattr(output, "pooler_output", output)
    return vectors / vectors.norm(p=2, dim=-1, keepdim=True)


def _read_kind(model: str, revision: str | None) -> _Kind:
    """Read what a checkpoint is from its config.json."""
    source = find_model(model, revision=revision, advice=ADVICE)
    if source.path is not None and not (source.path / "config.json").is_file():
        raise BackendError(f"{model}: no config.json in it; {ADVICE}")
    transformers: Any = importlib.import_module("transformers")
    modeling_auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")
    config = _load(source, transformers.AutoConfig)
    kind, named = str(config.model_type), config.architectures or []
    with_head = kind in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    with_text = kind in modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
    if with_head and (any(_HEAD in name for name in named) or not (named or with_text)):
        return _Kind(source, config, False)
    if with_text and kind in TEXT_MODELS:
        return _Kind(source, config, True)
    what = f"{named[0]} ({kind})" if named else kind
    raise BackendError(f"{model}: {what} is neither an image classifier nor one of CLIP, SigLIP; {ADVICE}")


def _load(source: ModelSource, kind: Any, **options: Any) -> Any:
    options |= {"trust_remote_code": False}
    return load_part(source, kind.from_pretrained, what="classifier", advice=ADVICE, **options)
