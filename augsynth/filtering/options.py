"""What filters new objects: which models are asked, and what a new object must satisfy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from augsynth.core.errors import ConfigError
from augsynth.core.options import check_options, internal, option


@dataclass(frozen=True, slots=True)
class FilterModels:
    """The detector and the classifier that judge what was painted.

    Raises:
        ConfigError: A value is out of range, or the options don't go together.
    """

    filter: Literal["detector", "classifier", "both", "off"] = option(
        "detector",
        "What judges new objects; with classifier or off the label is the planned box, with both the detector comes "
        "first.",
    )
    detector: str | None = option(
        None,
        "Detector: `embedded`, a folder, an MMDetection CONFIG.py:WEIGHTS or a hub id; several as A,B vote.",
        unset="embedded for the sample, else Grounding DINO",
    )
    detector_revision: str | None = option(None, "Commit or tag of that hub id.")
    classifier: str | None = option(
        None, "Image classifier, CLIP or SigLIP in the layout of transformers: a folder or a hub id."
    )
    classifier_revision: str | None = option(None, "Commit or tag of that hub id.")
    class_map: Mapping[str, tuple[str, ...]] = option(
        {},
        "What the classifier calls a category, by name: one or several of its labels; for CLIP words.",
        flag=False,
    )
    score_quantile: float = option(
        0.05, "Quantile of the real objects' scores that becomes the detector's threshold.", low=0, high=1
    )

    judge: str | None = option(
        None,
        "Detector as above, trained apart from what filters: in the end it grades the accepted labels, for the report.",
    )
    min_auc: float = option(
        0.6,
        "A category is left out where the detector's scores tell its accepted real objects from background worse than "
        "this (area under the ROC curve); 0 leaves out none.",
        low=0,
        high=1,
    )

    def __post_init__(self) -> None:
        check_options(self)
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


@dataclass(frozen=True, slots=True)
class FilterRules:
    """What an accepted object must satisfy.

    Attributes:
        min_size_ratio, max_size_ratio: Bounds of √(detected area / planned area).
        max_extra_overlap: A second object counts as painted when more than this share of it lies in the mask.
        extra_factor: And when its score is at least this share of the new object's: next to a sure detection a
            doubtful one is no evidence.
        lost_factor: A neighbour is lost when its score falls below this share of its threshold.
        decoy_factor: On a decoy doubt is enough: what is detected there counts from this share of its threshold,
            unless it was there before with at least this share of its score.
        clip_to_mask: Cut the re-fitted box to the mask: no new pixel lies outside.

    Raises:
        ConfigError: A value is out of range.
    """

    min_iou: float = option(0.6, "Least IoU of the detected and the planned box.", low=0, high=1)
    min_score: float | None = option(
        None,
        "Fixed detector threshold for all categories.",
        above=0,
        high=1,
        unset="calibrated for each category on its real objects",
    )
    rival_factor: float = option(
        0.75,
        "An object is ambiguous when another class scores more than this share of it at its place.",
        low=0,
        high=1,
    )
    extra_objects: Literal["reject", "label"] = option(
        "reject",
        "A second object that painting brought along: reject the attempt, or label it where it is sure.",
    )
    top_k: int = option(
        3, "The category must be among so many of the classifier's best labels.", low=1, high=10_000
    )
    min_size_ratio: float = internal(0.5, above=0, high=1)
    max_size_ratio: float = internal(2.0, low=1, high=100)
    max_extra_overlap: float = internal(0.3, low=0, high=1)
    extra_factor: float = internal(0.5, low=0, high=1)
    lost_factor: float = internal(0.7, low=0, high=1)
    decoy_factor: float = internal(0.5, low=0, high=1)
    clip_to_mask: bool = internal(True)

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def label_extras(self) -> bool:
        """Whether second objects are labelled instead of turning the attempt down.

        Not where it is doubtful what they are: another class fits nearly as well, or they lie in the new object.
        """
        return self.extra_objects == "label"
