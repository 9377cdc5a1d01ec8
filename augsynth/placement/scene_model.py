"""What a dataset's annotations tell of its scenes, as one value: what belongs with what, and where it lies."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from augsynth.affinity import file as affinity_file
from augsynth.affinity.cooccurrence import Pair
from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.model import (
    DEFAULT_MEASURE,
    SOURCES,
    Affinity,
    save_affinity_file,
)
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.scene import Dataset, Image, Placement, Scene
from augsynth.core.seeding import derive_rng
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.placement.proposal import PlacementRules, propose

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True, slots=True, eq=False)
class SceneModel:
    """What was learnt from annotations; its file form is the affinity file.

    Attributes:
        affinity: Which categories belong together.
        layout: Where they lie relative to one another, and how large they are.
    """

    affinity: Affinity
    layout: Layout

    @property
    def names(self) -> tuple[str, ...]:
        """Category names in the order of the matrix."""
        return self.affinity.names

    def strongest_pairs(self, k: int = 10) -> list[Pair]:
        """Return up to k pairs of categories that attract, strongest first."""
        return self.affinity.strongest_pairs(k)

    def most_repelled_pairs(self, k: int = 10) -> list[Pair]:
        """Return up to k pairs of categories that repel, strongest first."""
        return self.affinity.most_repelled_pairs(k)

    def save(self, path: str | Path) -> None:
        """Write the affinity file, which `load_affinity` and `generate(affinity=…)` read.

        Raises:
            DatasetError: The file can't be written.
        """
        save_affinity_file(Path(path), self.affinity, self.layout.to_dict())

    def to_bytes(self) -> bytes:
        """Return the content of the affinity file."""
        return affinity_file.to_bytes(affinity_file.encode(self.affinity), self.layout.to_dict())

    @classmethod
    def from_bytes(cls, content: bytes, *, path: Path) -> SceneModel:
        """Return the model of `to_bytes`.

        Args:
            content: Of an affinity file.
            path: What an error names.

        Raises:
            DatasetError: It isn't an affinity file, or is damaged.
        """
        fields, values = affinity_file.from_bytes(content, path=path)
        affinity = Affinity(**fields)
        try:
            layout = Layout.from_dict(values)
            if layout.category_ids != tuple(affinity.category_ids.tolist()):
                raise ValueError("category_ids: must be those of the affinity")
        except ValueError as error:
            raise DatasetError(
                f"{path}: layout: {error}; build it again with `augsynth build-affinity`"
            ) from None
        return cls(affinity, layout)

    def heat_map(self) -> Picture:
        """Draw the matrix: row present, column added."""
        from PIL import Image as pil

        return pil.open(io.BytesIO(self._repr_png_()))

    def _repr_png_(self) -> bytes:
        """Return the heat map as notebooks show it."""
        from augsynth.affinity.heat_map import draw_heat_map

        buffer = io.BytesIO()
        draw_heat_map(self.affinity, path=buffer)
        return buffer.getvalue()

    def __str__(self) -> str:
        affinity = self.affinity
        objects = int(affinity.instance_counts.sum())
        return (
            f"{affinity.measure} affinity of {len(affinity.names)} categories, from {objects} objects in "
            f"{affinity.num_scenes} images; {affinity.structure}"
        )


def fit_affinity(
    dataset: Dataset,
    *,
    measure: str = DEFAULT_MEASURE,
    kappa: float = 1.0,
    source: str = SOURCES[0],
    embeddings: Embeddings | None = None,
    blend_weight: float | None = None,
) -> SceneModel:
    """Learn from a dataset's annotations which categories belong together, where and how large; deterministic.

    Args:
        dataset: Images aren't read.
        measure: One of `augsynth.affinity.model.MEASURES`.
        kappa: Shrinkage of pair counts towards independence, in images.
        source: `cooccurrence`, `clip` or `blend`.
        embeddings: Of the category names, for `clip` and `blend`; see `augsynth.affinity.embeddings`.
        blend_weight: Share of the names in a blend, in [0, 1]; None chooses it.

    Raises:
        ConfigError: An option is out of range, or options don't go together.
        DatasetError: There is nothing to learn from.
    """
    affinity = Affinity.fit(
        dataset,
        measure=measure,
        kappa=kappa,
        source=source,
        embeddings=embeddings,
        blend_weight=blend_weight,
    )
    return SceneModel(affinity, Layout.fit(dataset))


def load_affinity(path: str | Path) -> SceneModel:
    """Read an affinity file.

    Raises:
        DatasetError: It can't be read, isn't an affinity file, or is damaged.
    """
    return SceneModel.from_bytes(affinity_file.read_bytes(Path(path)), path=Path(path))


def propose_places(
    scene: Scene,
    model: SceneModel,
    *,
    category: str | None = None,
    num: int = 1,
    seed: int = 42,
    image: Image | None = None,
    appearance: Appearance | None = None,
    rules: PlacementRules | None = None,
) -> list[Placement]:
    """Propose what to add to a scene, and where.

    Args:
        scene: The objects that are there.
        model: What was learnt from the dataset.
        category: Name of what to add; None draws it by affinity to what is there.
        num: Proposals, each drawn by itself; fewer come back where the scene has no room.
        seed: Same seed, same proposals.
        image: (H, W, 3) uint8 RGB, needed with `appearance`.
        appearance: Scores the surroundings, too; see `augsynth.placement.appearance`.
        rules: What a place must fulfil.

    Returns:
        Places with category id, box in pixels and score (a log density up to a constant), best first.

    Raises:
        ConfigError: The category isn't in the model, or there is an appearance without an image.
        DatasetError: The scene has a category that the model doesn't know.
    """
    if (image is None) != (appearance is None):
        raise ConfigError("give image and appearance together, or neither")
    category_id = None if category is None else _category_id(model.affinity, category)
    strange = set(scene.category_ids.tolist()) - set(model.affinity.category_ids.tolist())
    if strange:
        raise DatasetError(
            f"image {scene.image_id}: category id {min(strange)} isn't in the affinity; fit it on this dataset"
        )
    found = []
    for k in range(num):
        rng = derive_rng(seed, "propose", k)
        found.append(
            propose(
                scene,
                image,
                category_id=_draw_category(scene, model.affinity, rng)
                if category_id is None
                else category_id,
                layout=model.layout,
                appearance=appearance,
                rng=rng,
                rules=rules or PlacementRules(),
            )
        )
    places = [place for place in found if isinstance(place, Placement)]
    return sorted(places, key=lambda place: -place.score)


def _draw_category(scene: Scene, affinity: Affinity, rng: np.random.Generator) -> int:
    present = np.unique(scene.category_ids).tolist()
    return int(rng.choice(affinity.category_ids, p=affinity.probabilities(present)))


def _category_id(affinity: Affinity, name: str) -> int:
    if name not in affinity.names:
        raise ConfigError(
            f"category {name!r} isn't in the affinity; it has {', '.join(sorted(affinity.names))}"
        )
    return int(affinity.category_ids[affinity.names.index(name)])
