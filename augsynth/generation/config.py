"""The options of a generation run: configuration key = command-line flag = attribute of a section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from augsynth.affinity.options import CategoryRules
from augsynth.coco.formats.known import ANNOTATIONS, IMAGES, NEAR
from augsynth.core.errors import ConfigError
from augsynth.core.options import build, change, check_options, option, plain, section
from augsynth.core.storage import named
from augsynth.core.yaml_file import read_yaml
from augsynth.filtering.options import FilterModels, FilterRules
from augsynth.inpainting.options import PaintingOptions
from augsynth.inpainting.prompts.book import PromptRules
from augsynth.masking.options import MaskOptions
from augsynth.placement.proposal import PlacementRules
from augsynth.placement.replacement import ReplacementRules

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The dataset that is enriched.

    Raises:
        ConfigError: Images are given without annotations.
    """

    annotations: str | None = option(None, ANNOTATIONS, unset="the rendered sample")
    images: str | None = option(None, IMAGES, unset=NEAR)

    def __post_init__(self) -> None:
        if self.annotations is None and self.images is not None:
            raise ConfigError("images is given without annotations; give both, or neither for the sample")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How much is made.

    Raises:
        ConfigError: A value is out of range.
    """

    n: int = option(100, "Accepted objects wanted.", low=1, high=10_000_000)
    seed: int = option(42, "Seed of the run.")
    objects_per_image: int = option(
        2, "New objects in a new image at most; in replace mode one.", low=1, high=100
    )
    max_attempts: int | None = option(
        None,
        "Attempts in all before the run gives up.",
        low=1,
        high=10**9,
        unset="10 for each object wanted",
    )
    give_up_after: int = option(
        30,
        "Attempts at a category, none of them accepted, after which it is given up; 0 never.",
        low=0,
        high=10**9,
    )
    min_yield: float = option(
        0.02,
        "Share of the attempts that must be accepted; a run that is below after 100 attempts stops and asks, and goes "
        "on with 0.",
        low=0,
        high=1,
    )
    retries: int = option(
        3, "Attempts for one object, or one decoy, before the next is tried.", low=1, high=1000
    )
    decoys: float = option(
        0.0,
        "Windows repainted without an object and without a label, for each accepted object on average: so that "
        "having been repainted is no sign of an object.",
        low=0,
        high=4,
    )
    device: str = option("cpu", "Torch device of all models.")
    processes: int | None = option(
        None,
        "Processes that paint on a CPU, one thread each, and that write the dataset; their number changes no result.",
        low=1,
        high=256,
        unset="one for each core with a painting model of less than 1 GB, else a single one with all threads",
    )
    ray: str | None = option(
        None,
        "Ray cluster whose GPUs, or cores, paint: its HOST:PORT, auto for the one that this machine is part of, or "
        "local for one of this machine alone.",
        unset="no Ray",
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def attempt_budget(self) -> int:
        """Attempts in all before the run gives up."""
        return self.max_attempts or 10 * self.n


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What is written, and how.

    Raises:
        ConfigError: A value is none of the choices.
    """

    out: str = option("augmented", "Output directory.")
    originals: Literal["hardlink", "copy", "omit"] = option(
        "hardlink", "What becomes of the source images in the output."
    )
    image_format: Literal["png", "jpg"] = option(
        "png", "png keeps pixels outside the masks bit-identical; jpg is smaller and doesn't."
    )
    mask_format: Literal["polygon", "rle"] = option("polygon", "Form of the masks in the annotations.")
    bank: bool = option(False, "Write the accepted objects as cut-outs to OUT/bank, too.")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class GenerateConfig:
    """Everything that `augsynth generate` can be told, a section for each step.

    Raises:
        ConfigError: The options of two sections don't go together.
    """

    data: DataOptions = field(default_factory=DataOptions, metadata=section("Dataset"))
    output: OutputOptions = field(default_factory=OutputOptions, metadata=section("Output"))
    run: RunOptions = field(default_factory=RunOptions, metadata=section("Run"))
    categories: CategoryRules = field(default_factory=CategoryRules, metadata=section("Which categories"))
    replacement: ReplacementRules = field(
        default_factory=ReplacementRules, metadata=section("Insert or replace")
    )
    placement: PlacementRules = field(default_factory=PlacementRules, metadata=section("Where"))
    prompts: PromptRules = field(default_factory=PromptRules, metadata=section("Prompts"))
    painting: PaintingOptions = field(default_factory=PaintingOptions, metadata=section("Painting"))
    filter_models: FilterModels = field(default_factory=FilterModels, metadata=section("Filter: models"))
    filter_rules: FilterRules = field(default_factory=FilterRules, metadata=section("Filter: rules"))
    masking: MaskOptions = field(default_factory=MaskOptions, metadata=section("Masks"))

    def __post_init__(self) -> None:
        if self.masking.masks == "detector" and self.filter_models.filter == "off":
            raise ConfigError(
                "masks is 'detector', but filter is 'off' and no detector is loaded; set masks to matting or segmenter"
            )

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Return the configuration of options by name, without their sections: `GenerateConfig.of(n=9, steps=8)`.

        Raises:
            ConfigError: An unknown option or a wrong value.
        """
        return build(cls, values, source="options")

    def but(self, **values: Any) -> Self:
        """Return the configuration with other values of some options, named as for `of`."""
        return change(self, values)

    @property
    def slots(self) -> int:
        """New objects that an image can get: in `replace` mode one, as in its source."""
        return 1 if self.replacement.mode == "replace" else self.run.objects_per_image


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that are part of the package."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def find_preset(name: str | Path) -> Path:
    """Return the file of a preset: one of the package by its name, or any YAML file by its path.

    Raises:
        ConfigError: It is neither; the presets are listed.
    """
    if str(name) in preset_names():
        return PRESETS / f"{name}.yaml"
    if Path(name).exists() and not Path(name).is_dir():
        return Path(name)
    raise ConfigError(
        f"config {str(name)!r}: no such file and no preset; the presets are {', '.join(preset_names())}"
    )


def read_config(preset: str | Path | None, **overrides: Any) -> GenerateConfig:
    """Return the configuration of a preset or a YAML file with overrides that aren't None.

    Raises:
        ConfigError: The file is no YAML mapping, or a key or value is wrong; a near key is suggested.
    """
    values: dict[str, Any] = {}
    path = None if preset is None else find_preset(preset)
    if path is not None:
        loaded = read_yaml(path)
        if not isinstance(loaded, dict | None):
            raise ConfigError(f"{path}: holds no `key: value` lines; write one a line")
        values.update(loaded or {})
    return config_from(values, source=str(path or "options"), **overrides)


def config_from(values: Mapping[str, Any], *, source: str, **overrides: Any) -> GenerateConfig:
    """Return the configuration of plain values by name, checked for unknown keys and wrong types."""
    given = {key: value for key, value in overrides.items() if value is not None}
    return build(GenerateConfig, {**values, **given}, source=source)


def plain_config(config: GenerateConfig) -> dict[str, Any]:
    """Return the configuration as flat plain values for YAML or JSON; what was fetched from a URL has its name."""
    return {key: named(value) if isinstance(value, str) else value for key, value in plain(config).items()}
