"""The arms: what each of them adds to the plain training, and the numbers that it depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Everything that may be swept. The defaults are the best so far; LOG.md says why.

    Attributes:
        new_per_image: Objects painted for each image of the share.
        max_new: Objects painted at most.
        objects_per_image: New objects in a new image, at most.
        gamma: Exponent of rarity in the choice of category (generated and pasted).
        tau: Temperature of the choice of category (generated and pasted); 0 takes the affinity's own.
        persistence: How far categories that the filter turns down are tried more often.
        score_quantile: Strictness of the filter.
        rival_factor: How near another class may come for an object to be accepted.
        strength: How far a real object that painting starts from is repainted.
        context: Side of the painted window over the object's; 0 takes the model's own.
        feather: Soft edge of what is painted, in pixels of the model.
        decoys: Windows repainted without an object for each accepted object.
        synthetic_ratio: Share of the training pictures drawn from the new images.
        synthetic_until: Part of the schedule during which they are drawn.
        paste_prob: Chance that a training picture is pasted into.
        paste_objects: Objects pasted at most.
        paste_until: Part of the schedule during which anything is pasted.
        saturation: Objects from which on a category isn't rare in the choice of what is pasted; 0 compares numbers
            as they are.
        turn_prob: Chance that a pasted object is turned by quarters of a circle, in pictures taken from above.
        blends: Ways of blending a pasted object in, with commas between them.
        copy_paste_prob: The same chance for Simple Copy-Paste.
    """

    new_per_image: float = 4.0
    max_new: int = 400
    objects_per_image: int = 4
    gamma: float = 1.5
    tau: float = 0.0
    persistence: float = 1.0
    score_quantile: float = 0.05
    rival_factor: float = 0.75
    strength: float = 0.02
    context: float = 0.0
    feather: float = 3.0
    decoys: float = 0.0
    synthetic_ratio: float = 0.5
    synthetic_until: float = 1.0
    paste_prob: float = 1.0
    paste_objects: int = 10
    saturation: float = 100.0
    turn_prob: float = 0.75
    blends: str = "hard,feather,poisson"
    copy_paste_prob: float = 0.5
    paste_until: float = 1.0


GENERATION = (
    "new_per_image",
    "max_new",
    "objects_per_image",
    "gamma",
    "tau",
    "persistence",
    "score_quantile",
    "rival_factor",
    "context",
    "feather",
    "decoys",
)
STARTING = ("strength",)
LATER = {"paste_until": 1.0}  # came when there were cells already, which are as if they had had this value
MIXING = ("synthetic_ratio", "synthetic_until")
PASTING = ("paste_prob", "paste_objects", "gamma", "tau", "saturation", "turn_prob", "blends", "paste_until")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        title: What the table calls it.
        painted: Which generated set is trained on besides the real images, if any.
        pasted: Where cut-outs come from: `copy_paste` (MMDetection's own), `real`, `generated` or `both`.
    """

    title: str
    painted: str | None = None
    pasted: str | None = None

    @property
    def generated(self) -> bool:
        """Whether it trains on anything painted."""
        return self.painted is not None or self.pasted in ("generated", "both")

    @property
    def from_real(self) -> bool:
        """Whether its painting starts from real objects."""
        return self.painted in FROM_REAL

    def depends_on(self) -> tuple[str, ...]:
        """Return the fields of the recipe that change this arm."""
        names = [*(GENERATION if self.generated else ()), *(MIXING if self.painted else ())]
        names += STARTING if self.from_real else ()
        names += PASTING if self.pasted in ("real", "generated", "both") else ()
        names += ("copy_paste_prob",) if self.pasted == "copy_paste" else ()
        return tuple(dict.fromkeys(names))


ARMS = {
    "none": Arm("no augmentation"),
    "copy_paste": Arm("Simple Copy-Paste (MMDetection)", pasted="copy_paste"),
    "random": Arm("painted: random category, random place", painted="random"),
    "affinity": Arm("+ affinity", painted="affinity"),
    "alignment": Arm("+ alignment", painted="alignment"),
    "augsynth": Arm("+ filter (= augsynth)", painted="augsynth"),
    "unaligned": Arm("augsynth without alignment: the filter, anywhere", painted="unaligned"),
    "paste_real": Arm("AffinityPaste, real cut-outs", pasted="real"),
    "paste_generated": Arm("AffinityPaste, generated objects", pasted="generated"),
    "both": Arm("augsynth + AffinityPaste", painted="augsynth", pasted="both"),
    "settled": Arm("painted from real objects", painted="settled"),
    "settled_both": Arm("painted from real objects + AffinityPaste", painted="settled", pasted="real"),
    "settled_unfiltered": Arm("painted from real objects, no filter", painted="settled_unfiltered"),
    "settled_unfiltered_both": Arm(
        "painted from real objects, no filter + AffinityPaste", painted="settled_unfiltered", pasted="real"
    ),
    "settled_anywhere": Arm("painted from real objects, anywhere", painted="settled_anywhere"),
}
FROM_REAL = ("settled", "settled_unfiltered", "settled_anywhere")  # painted sets that start from real objects

# What `augsynth generate` is told for each painted set: every line up to `augsynth` adds one step to the line above,
# and those after `settled` leave a step out of it.
SWITCHES: dict[str, dict[str, Any]] = {
    "random": {"category_choice": "uniform", "placement": "uniform", "alignment": "off", "filter": "off"},
    "affinity": {"placement": "uniform", "alignment": "off", "filter": "off"},
    "alignment": {"filter": "off"},
    "augsynth": {},
    "unaligned": {"placement": "uniform", "alignment": "off"},
    "settled": {},
    "settled_unfiltered": {"filter": "off"},
    "settled_anywhere": {"placement": "uniform", "alignment": "off"},
}


def recipe_of(arm: Arm, settings: list[str]) -> Recipe:
    """Return the recipe of an arm, with `key=value` settings.

    Real objects are many times cheaper to settle than others are to paint, and few; an image gets more of them.

    Raises:
        SystemExit: As `with_settings`.
    """
    usual = Recipe()
    if arm.from_real:
        usual = replace(usual, new_per_image=20.0, max_new=500, objects_per_image=6)
    return with_settings(usual, settings)


def with_settings(recipe: Recipe, settings: list[str]) -> Recipe:
    """Return a recipe with `key=value` settings.

    Raises:
        SystemExit: An unknown key or a value of the wrong kind.
    """
    kinds = {f.name: type(getattr(recipe, f.name)) for f in fields(Recipe)}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in kinds:
            raise SystemExit(f"--set {setting}: write KEY=VALUE with a key among {', '.join(kinds)}")
        try:
            recipe = replace(recipe, **{key: kinds[key](value)})
        except ValueError:
            raise SystemExit(f"--set {setting}: {value!r} is no {kinds[key].__name__}") from None
    return recipe


def settings_of(arm: Arm, recipe: Recipe) -> dict[str, Any]:
    """Return the part of a recipe that an arm depends on."""
    values = asdict(recipe)
    return {n: values[n] for n in arm.depends_on() if n not in LATER or values[n] != LATER[n]}
