"""The options of a generation run: configuration key = command-line flag = attribute."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from augsynth.core.errors import ConfigError
from augsynth.inpainting.prompts.book import PromptRules
from augsynth.inpainting.prompts.templates import DEFAULT_TEMPLATE, check_templates

ORIGINALS = ("hardlink", "copy", "omit")
IMAGE_FORMATS = ("png", "jpg")
MODES = ("insert", "replace", "mix")
MASK_FORMATS = ("polygon", "rle")


@dataclass(frozen=True, slots=True)
class GenerateConfig:
    """Everything that `augsynth generate` can be told.

    Attributes:
        n: Accepted objects wanted.
        annotations: COCO annotation file; None with `images` None means the rendered sample.
        images: Directory that `file_name` is relative to.
        out: Output directory.
        affinity: Affinity file; None builds one from the annotations.
        model: `embedded`, a diffusers folder or a hub id.
        model_revision: Revision of a hub id.
        lora: LoRA of the model: a .safetensors file, a folder with one or a hub id.
        lora_scale: How much of the LoRA; 1 is as it was trained.
        detector: `embedded`, a detector folder, an MMDetection config with its checkpoint or a hub id; several
            with commas between them vote.
        detector_revision: Revision of a hub id.
        seed: Seed of the run.
        objects_per_image: New objects a new image holds at most; in `replace` mode one.
        max_attempts: Attempts in all before the run gives up; 0 means 10 for each object wanted.
        retries: Attempts for one object, or one decoy, before the next is tried.
        mode: `insert` adds objects; `replace` repaints one existing object of an image as another category; `mix`
            does either.
        replace_share: In `mix` the chance that a new object replaces one, where one may be replaced.
        replace_area: Share of the image that the object best replaced has (α of Nie et al.).
        replace_affinity: Share of all other categories, the most affine to the replaced one, that may take its
            place (θ of Nie et al.).
        decoys: Windows repainted without an object and without a label, for each accepted object on average: so
            that having been repainted is no sign of an object.
        originals: `hardlink`, `copy` or `omit` the source images.
        image_format: `png` keeps pixels outside the masks bit-identical; `jpg` is smaller and doesn't.
        bank: Write the accepted objects as cut-outs to `OUT/bank`, too.
        masks: Who finds the objects' masks: `detector` by its mask head, `matting` from what painting changed, a
            promptable `segmenter`, `off` for boxes only; `auto` takes the segmenter where one is given, else the
            detector or matting, and nothing where the dataset itself has no masks.
        segmenter: Folder or hub id of a promptable segmenter (SAM, SAM 2, SAM-HQ).
        segmenter_revision: Revision of a hub id.
        mask_format: `polygon` or `rle` in the annotations.
        device: Torch device.
        precision: `float32`, `bfloat16` or `float16` of the inpainting model.
        batch_size: Windows a forward pass.
        steps: Denoising steps.
        guidance: Classifier-free guidance scale; 0 takes what fits the model.
        sampler: `ddim`, `lcm` for few-step checkpoints and LoRAs, or `auto`, which follows the checkpoint.
        window_size: Side of the model's window in pixels; 0 is its own.
        alignment: `renoise`, `inversion` or `off`.
        donors: Object bank whose cut-outs are put in place before painting; None paints from noise.
        strength: How much of a donor is painted over, above 0; 1 leaves nothing of it.
        template: Prompt with `{category}`, or several to draw from; `{neighbours}` and `{description}` are filled,
            too.
        prompts: YAML or JSON file of synonyms, descriptions and negative prompts by category name.
        negative_prompt: Text of the unconditional branch.
        context: Side of the edit window over the longer side of the mask; 0 is 1.35 for models whose window has
            few pixels (up to 256), otherwise 1.8.
        max_zoom: How much the window of a small object is enlarged for the model, at most.
        mask_growth: Factor by which the box is grown into the mask.
        feather: Soft edge in pixels of the model's window.
        category_choice: `affinity` to what is present, or `uniform` over the wanted categories.
        measure: Affinity measure when none is given; empty for the default.
        tau: Temperature of the category choice; 0 takes the affinity's own.
        gamma: Exponent that favours rare categories.
        persistence: How far categories that are turned down more often are tried more often, in [0, 1]: 0 not at
            all; with 1 the accepted objects follow affinity and rarity, at up to eight times the attempts.
        categories: Names to generate; empty means all.
        quotas: Most accepted objects a category, by name.
        placement: `aligned` with the surroundings, or `uniform` over the image.
        max_overlap: Share of an annotated object that a new box may cover.
        min_size: Least side of a new box in pixels.
        filter: Who judges: `detector`; `classifier`, for which the label is the planned box; `both`, the detector
            first; or `off` to accept all that is painted, labelled with the planned box. A detector or classifier
            that isn't asked counts as not given.
        extra_objects: A second object that painting brought along: `reject` the attempt, or `label` it, too, where
            the detector is sure what it is.
        classifier: Image classifier, or CLIP or SigLIP, in the layout of transformers: a folder or a hub id.
        classifier_revision: Revision of a hub id.
        class_map: What the classifier calls a category, by name: one or several of its labels; for CLIP words.
        top_k: The category must be among so many of the classifier's labels that fit best.
        min_iou: Least IoU of the detected and the planned box.
        rival_factor: An object is turned down when another class scores more than this share of it at its place.
        min_score: Fixed detector threshold; 0 calibrates one per category on the real objects.
        score_quantile: Quantile of the real objects' scores that calibrates the threshold.
    """

    n: int = 100
    annotations: str | None = None
    images: str | None = None
    out: str = "augmented"
    affinity: str | None = None
    model: str = ""
    model_revision: str | None = None
    lora: str | None = None
    lora_scale: float = 1.0
    detector: str = ""
    detector_revision: str | None = None
    seed: int = 42
    objects_per_image: int = 2
    max_attempts: int = 0
    retries: int = 3
    mode: str = "insert"
    replace_share: float = 0.5
    replace_area: float = 0.35
    replace_affinity: float = 0.25
    decoys: float = 0.0
    originals: str = "hardlink"
    image_format: str = "png"
    bank: bool = False
    masks: str = "auto"
    segmenter: str | None = None
    segmenter_revision: str | None = None
    mask_format: str = "polygon"
    device: str = "cpu"
    precision: str = "float32"
    batch_size: int = 8
    steps: int = 25
    guidance: float = 0.0
    sampler: str = "auto"
    window_size: int = 0
    alignment: str = "renoise"
    donors: str | None = None
    strength: float = 0.6
    template: str | tuple[str, ...] = DEFAULT_TEMPLATE
    prompts: str | None = None
    negative_prompt: str = ""
    context: float = 0.0
    max_zoom: float = 4.0
    mask_growth: float = 1.15
    feather: float = 3.0
    category_choice: str = "affinity"
    measure: str = ""
    tau: float = 0.0
    gamma: float = 1.5
    persistence: float = 1.0
    categories: tuple[str, ...] = ()
    quotas: Mapping[str, int] = field(default_factory=dict)
    placement: str = "aligned"
    max_overlap: float = 0.1
    min_size: float = 8.0
    filter: str = "detector"
    extra_objects: str = "reject"
    classifier: str = ""
    classifier_revision: str | None = None
    class_map: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    top_k: int = 3
    min_iou: float = 0.6
    rival_factor: float = 0.75
    min_score: float = 0.0
    score_quantile: float = 0.05

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; it must lie in [{low}, {high}]")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
        if (self.annotations is None) != (self.images is None):
            given, missing = ("annotations", "images") if self.images is None else ("images", "annotations")
            raise ConfigError(f"{given} is given without {missing}; give both, or neither for the sample")
        self._check_masks()
        if 0 < self.context < 1:
            raise ConfigError(f"context is {self.context}; it must be 1 or more, or 0 for the model's own")
        check_templates((self.template,) if isinstance(self.template, str) else self.template)
        if self.asks_classifier and not self.classifier:
            raise ConfigError(
                f"filter is {self.filter!r}, but no classifier is given; name one with --classifier FOLDER_OR_ID"
            )
        if self.classifier and self.filter == "detector":
            raise ConfigError(
                f"classifier is {self.classifier!r}, but filter is 'detector'; set filter to classifier or both"
            )

    @property
    def asks_detector(self) -> bool:
        """Whether a detector judges what is painted."""
        return self.filter in ("detector", "both")

    @property
    def asks_classifier(self) -> bool:
        """Whether a classifier judges what is painted."""
        return self.filter in ("classifier", "both")

    def _check_masks(self) -> None:
        if self.masks == "segmenter" and self.segmenter is None:
            raise ConfigError(
                "masks is 'segmenter', but none is given; name a SAM checkpoint with --segmenter"
            )
        if self.segmenter is not None and self.masks not in ("auto", "segmenter"):
            raise ConfigError(
                f"segmenter is given, but masks is {self.masks!r}; leave one of them out, or set masks to segmenter"
            )
        if self.masks == "detector" and self.filter == "off":
            raise ConfigError(
                "masks is 'detector', but filter is 'off' and no detector is loaded; set masks to matting or segmenter"
            )

    @property
    def prompt_rules(self) -> PromptRules:
        """How the model is told what to paint."""
        return PromptRules(self.template, self.prompts, self.negative_prompt, self.categories)

    @property
    def attempt_budget(self) -> int:
        """Attempts in all before the run gives up."""
        return self.max_attempts or 10 * self.n

    @property
    def slots(self) -> int:
        """New objects that an image can get: in `replace` mode one, as in its source."""
        return 1 if self.mode == "replace" else self.objects_per_image


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("n", 1, 10_000_000),
    ("objects_per_image", 1, 100),
    ("max_attempts", 0, 10**9),
    ("retries", 1, 1000),
    ("replace_share", 0, 1),
    ("replace_area", 0, 1),
    ("replace_affinity", 0, 1),
    ("decoys", 0, 4),
    ("batch_size", 1, 4096),
    ("steps", 1, 1000),
    ("guidance", 0, 50),
    ("lora_scale", -10, 10),
    ("window_size", 0, 4096),
    ("strength", 0.02, 1.0),
    ("context", 0.0, 10),
    ("max_zoom", 1.0, 32),
    ("mask_growth", 1.0, 3.0),
    ("feather", 0, 64),
    ("tau", 0, 1e6),
    ("gamma", -10, 10),
    ("persistence", 0, 1),
    ("max_overlap", 0, 1),
    ("min_size", 1, 10_000),
    ("min_iou", 0, 1),
    ("rival_factor", 0, 1),
    ("min_score", 0, 1),
    ("score_quantile", 0, 1),
    ("top_k", 1, 10_000),
)
_CHOICES: dict[str, tuple[str, ...]] = {
    "originals": ORIGINALS,
    "mode": MODES,
    "image_format": IMAGE_FORMATS,
    "masks": ("auto", "off", "detector", "matting", "segmenter"),
    "mask_format": MASK_FORMATS,
    "precision": ("float32", "bfloat16", "float16"),
    "sampler": ("auto", "ddim", "lcm"),
    "alignment": ("renoise", "inversion", "off"),
    "category_choice": ("affinity", "uniform"),
    "placement": ("aligned", "uniform"),
    "filter": ("detector", "classifier", "both", "off"),
    "extra_objects": ("reject", "label"),
}
_LISTS = {"categories": "a list of names", "template": "a text or a list of texts"}


def read_config(path: Path | None, **overrides: Any) -> GenerateConfig:
    """Return the configuration of a YAML file with overrides that aren't None.

    Raises:
        ConfigError: The file is no YAML mapping, or a key or value is wrong; a near key is suggested.
    """
    import yaml

    values: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path}: can't be read ({error.strerror}); pass an existing YAML file"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"{path}: not YAML ({first}); write one `key: value` a line") from error
        if not isinstance(loaded, dict | None):
            raise ConfigError(f"{path}: holds no `key: value` lines; write one a line")
        values.update(loaded or {})
    return config_from(values, source=str(path), **overrides)


def config_from(values: Mapping[str, Any], *, source: str, **overrides: Any) -> GenerateConfig:
    """Return the configuration of plain values, checked for unknown keys and wrong types."""
    known = {f.name for f in fields(GenerateConfig)}
    merged = {**values, **{k: v for k, v in overrides.items() if v is not None}}
    for key in merged:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(sorted(known))}"
            raise ConfigError(f"{source}: unknown key {key!r}; {advice}")
    hints = typing.get_type_hints(GenerateConfig)
    return GenerateConfig(**{k: _coerce(k, v, hints[k], source) for k, v in merged.items()})


def _coerce(key: str, value: Any, hint: Any, source: str) -> Any:
    wanted = {int: "a whole number", float: "a number", str: "a text"}
    if hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{source}: {key} is {value!r}; it must be true or false")
        return value
    if value is False and "off" in _CHOICES.get(key, ()):
        value = "off"  # which YAML reads as false when it has no quotes
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in wanted:
        if not isinstance(value, hint) or isinstance(value, bool):
            raise ConfigError(f"{source}: {key} is {value!r}; it must be {wanted[hint]}")
        return value
    if hint == str | None:
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{source}: {key} is {value!r}; it must be a text")
        return value
    if key in _LISTS or key == "class_map":
        return (_coerce_labels if key == "class_map" else _coerce_list)(key, value, source)
    if not isinstance(value, Mapping) or not all(isinstance(v, int) and v >= 0 for v in value.values()):
        raise ConfigError(f"{source}: {key} is {value!r}; it must map category names to counts")
    return dict(value)


def _coerce_list(key: str, value: Any, source: str) -> str | tuple[str, ...]:
    if key == "template" and isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"{source}: {key} is {value!r}; it must be {_LISTS[key]}")
    return tuple(value)


def _coerce_labels(key: str, value: Any, source: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, labels in value.items() if isinstance(value, Mapping) else [(value, None)]:
        listed = [labels] if isinstance(labels, str) else labels
        if not isinstance(name, str) or not isinstance(listed, list | tuple) or not listed:
            raise ConfigError(
                f"{source}: {key} is {value!r}; it must map category names to a label or a list"
            )
        if not all(isinstance(label, str) and label.strip() for label in listed):
            raise ConfigError(f"{source}: {key}: the labels of {name!r} must be texts, in quotes if need be")
        found[name] = tuple(listed)
    return found


def plain_config(config: GenerateConfig) -> dict[str, Any]:
    """Return the configuration as plain values for YAML or JSON."""
    values = asdict(config)
    values["categories"] = list(values["categories"])
    values["class_map"] = {name: list(labels) for name, labels in config.class_map.items()}
    if isinstance(config.template, tuple):
        values["template"] = list(config.template)
    return values
