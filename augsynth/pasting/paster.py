"""Paste several objects into one image: categories by affinity, places by the layout, cut-outs by likeness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from augsynth.affinity.model import Affinity
from augsynth.core.errors import AugsynthError
from augsynth.core.scene import FloatArray
from augsynth.pasting.estimated_outline import with_outline
from augsynth.pasting.patch import Blend
from augsynth.pasting.placer import Placer, Places
from augsynth.pasting.source_objects import SourceObjects
from augsynth.pasting.surroundings import Surroundings
from augsynth.pasting.target import PasteTarget

_ROUNDS = 3


def _ignore(reason: str, details: str) -> None:
    """Leave a report unread."""


@dataclass(frozen=True, slots=True, eq=False)
class Paster:
    """Draws what is pasted into an image; the options are those of `AffinityPaste`.

    Attributes:
        affinity: Chooses categories.
        placer: Chooses places and cut-outs.
        blends: Blend modes.
        blend_weights: (K,) their chances, summing to 1.
        factors: Category id -> factor on its chance; a category that is absent or has 0 is never pasted.
        min_objects, max_objects: How many to paste, where there is room.
        tau, gamma, saturation: Of `Affinity.probabilities`.
        flip_prob: Chance that an object is mirrored.
        turn_prob: Chance that an object is turned by quarters of a circle.
        report: Told the reason and details of a cut-out that wasn't used: `damaged_cutout` or `cut_off`.
    """

    affinity: Affinity
    placer: Placer
    blends: Sequence[Blend]
    blend_weights: FloatArray
    factors: Mapping[int, float]
    min_objects: int = 1
    max_objects: int = 3
    tau: float | None = None
    gamma: float = 1.0
    saturation: float | None = 100.0
    flip_prob: float = 0.5
    turn_prob: float = 0.0
    report: Callable[[str, str], None] = field(default=_ignore)

    def offered(self, sources: SourceObjects) -> dict[int, float]:
        """Return the factors of the categories that a sources has cut-outs of; empty where nothing can be pasted."""
        return {c: self.factors[c] for c in sources.members if self.factors.get(c, 0) > 0}

    def paste(
        self,
        target: PasteTarget,
        sources: SourceObjects,
        *,
        reference_area: float,
        bgr: bool,
        rng: np.random.Generator,
    ) -> None:
        """Paste objects of a sources into a target, as many as are drawn and find a place.

        Args:
            target: Is pasted into; its `num_pasted` says how many it became.
            sources: What there is to paste, in the channel order of the target.
            reference_area: Area in pixels that sizes are relative to: that of the image before cropping.
            bgr: Whether the target has its channels in this order.
            rng: All chance comes from here.
        """
        offered = self.offered(sources)
        if not offered:
            return
        surroundings = Surroundings.of(target.image, bgr=bgr)
        used: set[int] = set()
        wanted = int(rng.integers(self.min_objects, self.max_objects + 1))
        present = target.scene.category_ids[~target.scene.is_crowd].tolist()
        chances = self.affinity.probabilities(
            present, tau=self.tau, gamma=self.gamma, saturation=self.saturation, quotas=offered
        )
        for _ in range(_ROUNDS):
            # One object in three finds no place: some in reserve are cheaper than another round.
            num = round(1.5 * (wanted - target.num_pasted) + 0.5)
            ids = rng.choice(self.affinity.category_ids, size=num, p=chances).tolist()
            for places in self.placer.propose(
                target.scene, ids, surroundings=surroundings, reference_area=reference_area, rng=rng
            ):
                if target.num_pasted < wanted:
                    self._paste_one(target, places, sources, reference_area, used, rng)
            if target.num_pasted >= wanted:
                break

    def _paste_one(
        self,
        target: PasteTarget,
        places: Places,
        sources: SourceObjects,
        reference_area: float,
        used: set[int],
        rng: np.random.Generator,
    ) -> None:
        """Try to paste one object: choose cut-out and place, blend it in."""
        choice = self.placer.choose(
            target.scene,
            places,
            sources=sources,
            reference_area=reference_area,
            used=used,
            rng=rng,
            turn_prob=self.turn_prob,
        )
        if choice is None:
            return
        blend = self.blends[int(np.searchsorted(np.cumsum(self.blend_weights)[:-1], rng.random()))]
        flip = bool(rng.random() < self.flip_prob)
        try:
            patch = sources.cut(choice.position)
        except AugsynthError as error:
            self.report("damaged_cutout", f": {error}")
            return
        used.add(choice.position)
        if patch.is_cut_off():  # it would show a flat side
            self.report("cut_off", "")
            return
        if not patch.has_mask and not len(patch.other_ids):
            patch = with_outline(patch) or patch
        patch = patch.flipped() if flip else patch
        patch = patch.turned(choice.quarters)
        target.paste(patch.scaled(choice.scale), choice.box_xyxy, places.category_id, blend=blend)
