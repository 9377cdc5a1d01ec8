"""Where the masks of new objects come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from augsynth.core.errors import ConfigError
from augsynth.core.options import check_options, option


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """What finds the masks of new objects.

    Raises:
        ConfigError: A value is none of the choices, or the options don't go together.
    """

    masks: Literal["auto", "off", "detector", "matting", "segmenter"] = option(
        "auto",
        "Masks from the detector's mask head, from matting of what painting changed, from a promptable segmenter, or "
        "off for boxes only; auto takes the segmenter where one is given, else the detector or matting, and nothing "
        "where the dataset itself has no masks.",
    )
    unmasked: Literal["reject", "keep", "box"] | None = option(
        None,
        "An object that no mask is found for: reject the attempt, keep it without one, or with a box-shaped one.",
        unset="reject where all objects of the dataset have masks, otherwise keep",
    )
    segmenter: str | None = option(None, "Promptable segmenter (SAM, SAM 2, SAM-HQ): a folder or a hub id.")
    segmenter_revision: str | None = option(None, "Commit or tag of that hub id.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.masks == "segmenter" and self.segmenter is None:
            raise ConfigError(
                "masks is 'segmenter', but none is given; name a SAM checkpoint with --segmenter"
            )
        if self.masks == "off" and self.unmasked == "reject":
            raise ConfigError("unmasked is 'reject', but masks is 'off'; set one of them to something else")
        if self.segmenter is not None and self.masks not in ("auto", "segmenter"):
            raise ConfigError(
                f"segmenter is given, but masks is {self.masks!r}; leave one of them out, or set masks to segmenter"
            )
