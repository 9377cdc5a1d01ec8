"""Pictures that can't be decoded, show nothing, or are there twice: by perceptual hash, confirmed at a larger size.

The hash is pHash (63 signs of the low cosine frequencies of a 32×32 grey picture). It finds candidates; of these the
pictures are compared themselves, so that frames of one film aren't taken for one picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as pil

from augsynth.checking.findings import Case, Finding, case_of, suspicious
from augsynth.core.images import image_path
from augsynth.core.scene import Dataset

MAX_DISTANCE = 10  # bits of 63 between two hashes, for a candidate
MIN_DETAIL = 0.75  # correlation of the details of two 128×128 pictures that are one
MIN_SCENE = 0.85  # correlation of the coarse details of two 64×64 pictures of one scene
MIN_SPREAD = 1.0  # grey levels, standard deviation of a 32×32 picture that shows something
_SIDE, _KEPT = 32, 8
_ROWS = 512  # of hashes that are compared with all others at once
_MOST_ALIKE = 30  # of pictures with nearly one hash that each is compared with

Progress = Callable[[int, int], None]
Grey = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of one of the datasets.

    Attributes:
        split: Position of its dataset.
        position: Of its scene in the dataset.
    """

    split: int
    position: int


@dataclass(slots=True, eq=False)
class Hashes:
    """The hashes of all pictures that could be decoded and show something.

    Attributes:
        pictures: N of them.
        codes: (N,) uint64, and mirrored (N,) uint64 of the same pictures left for right.
        damaged: Pictures that can't be decoded, with the reason.
        empty: Pictures of a single colour.
    """

    pictures: list[Picture] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    mirrored: list[int] = field(default_factory=list)
    damaged: list[tuple[Picture, str]] = field(default_factory=list)
    empty: list[Picture] = field(default_factory=list)


def check_pictures(datasets: Sequence[Dataset], progress: Progress = lambda done, of: None) -> list[Finding]:
    """Find pictures that are damaged, empty or twice in a dataset, and what two datasets share.

    Args:
        datasets: Read with their images; several are splits of one.
        progress: Called with the pictures read and all.
    """
    hashes = _hash_all(datasets, progress)
    found = []
    for split, dataset in enumerate(datasets):
        source, scenes = str(dataset.source), dataset.scenes
        damaged = [
            case_of(scenes[picture.position], (), note=reason)
            for picture, reason in hashes.damaged
            if picture.split == split
        ]
        empty = [case_of(scenes[picture.position], ()) for picture in hashes.empty if picture.split == split]
        found += suspicious("damaged_pictures", source, damaged)
        found += suspicious("empty_pictures", source, empty)
    return found + _twice(datasets, hashes)


def _hash_all(datasets: Sequence[Dataset], progress: Progress) -> Hashes:
    hashes = Hashes()
    total, done = sum(len(dataset.scenes) for dataset in datasets), 0
    for split, dataset in enumerate(datasets):
        for position in range(len(dataset.scenes)):
            picture, done = Picture(split, position), done + 1
            try:
                grey = _grey(dataset, position, _SIDE)
            except Exception as error:  # decoders of broken files raise nearly anything
                hashes.damaged.append((picture, " ".join(str(error).split())[:100]))
                continue
            finally:
                progress(done, total)
            if grey.std() < MIN_SPREAD:
                hashes.empty.append(picture)
                continue
            hashes.pictures.append(picture)
            hashes.codes.append(_code(grey))
            hashes.mirrored.append(_code(np.ascontiguousarray(grey[:, ::-1])))
    return hashes


def _grey(dataset: Dataset, position: int, side: int) -> Grey:
    """Return a picture of a dataset as (side, side) float32 grey levels; a JPEG isn't decoded in full size."""
    scene = dataset.scenes[position]
    assert dataset.image_root is not None
    with pil.open(image_path(dataset.image_root, scene.file_name)) as picture:
        picture.draft("L", (2 * side, 2 * side))
        if picture.mode.startswith("I"):  # 16 bits, of which a conversion to 8 keeps the lowest
            floats = pil.fromarray(np.asarray(picture, np.float32) * np.float32(255 / 65535))
            return np.asarray(floats.resize((side, side), pil.Resampling.BOX), np.float32)
        grey = picture.convert("L").resize((side, side), pil.Resampling.BOX)
    return np.asarray(grey, np.float32)


def _code(grey: Grey) -> int:
    """Return the pHash of a (32, 32) picture as a number of 63 bits."""
    low = cv2.dct(grey)[:_KEPT, :_KEPT].reshape(-1)[1:]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def _twice(datasets: Sequence[Dataset], hashes: Hashes) -> list[Finding]:
    @lru_cache(maxsize=256)
    def grey(picture: Picture) -> Grey:
        return _grey(datasets[picture.split], picture.position, 128)

    same: dict[int, list[Case]] = defaultdict(list)
    leaked: dict[int, list[Case]] = defaultdict(list)
    scenes: dict[int, list[Case]] = defaultdict(list)
    for a, b, mirrored in candidates(hashes):
        one, other = hashes.pictures[a], hashes.pictures[b]
        likeness = compare(grey(one), grey(other)[:, ::-1] if mirrored else grey(other))
        alike = likeness.detail >= MIN_DETAIL
        if not alike and (one.split == other.split or mirrored or likeness.scene < MIN_SCENE):
            continue
        value = likeness.detail if alike else likeness.scene
        told = f"likeness {value:.2f}" + (", mirrored" if mirrored else "")
        second = datasets[other.split].scenes[other.position]
        case = case_of(
            datasets[one.split].scenes[one.position],
            (),
            value=round(value, 3),
            note=told,
            other_file=str(datasets[other.split].source),
            other_image_id=second.image_id,
            other_file_name=second.file_name,
        )
        kind = same if one.split == other.split else leaked if alike else scenes
        kind[one.split].append(case)
    return [
        finding
        for kind, groups in (("same_pictures", same), ("leaked_pictures", leaked), ("leaked_scenes", scenes))
        for split, cases in sorted(groups.items())
        for finding in suspicious(kind, str(datasets[split].source), cases)
    ]


def candidates(hashes: Hashes) -> Iterator[tuple[int, int, bool]]:
    """Yield pairs of pictures, the first before the second, that have nearly one hash, and whether mirrored.

    Of more than a few dozen with nearly one hash each is compared with the nearest of them.
    """
    codes, mirrored = np.array(hashes.codes, np.uint64), np.array(hashes.mirrored, np.uint64)
    for start in range(0, len(codes), _ROWS):
        rows = codes[start : start + _ROWS, None]
        straight = np.bitwise_count(rows ^ codes[None, start:])
        turned = np.bitwise_count(rows ^ mirrored[None, start:])
        near = np.minimum(straight, turned)
        near[:, : len(rows)][np.tri(len(rows), dtype=np.bool_)] = (
            64  # itself, and pairs seen from the other side
        )
        for row in np.flatnonzero(near.min(1) <= MAX_DISTANCE).tolist():
            order = np.argsort(near[row], kind="stable")[:_MOST_ALIKE]
            for b in order[near[row, order] <= MAX_DISTANCE].tolist():
                yield start + row, start + b, bool(turned[row, b] < straight[row, b])


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike two pictures are.

    Attributes:
        detail: Correlation of their fine details, near 1 for copies whatever the brightness, contrast or compression.
        scene: Correlation of their coarse details, high for two photographs from one place.
    """

    detail: float
    scene: float


def compare(a: Grey, b: Grey) -> Likeness:
    """Return how alike two (128, 128) pictures are."""
    small = [cv2.resize(x, (64, 64), interpolation=cv2.INTER_AREA) for x in (a, b)]
    return Likeness(
        _correlation(_details(a, 2), _details(b, 2)), _correlation(*(_details(x, 4) for x in small))
    )


def _details(grey: Grey, sigma: float) -> Grey:
    """Return a picture without what is coarser than `sigma` pixels."""
    grey = np.ascontiguousarray(grey)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _correlation(a: Grey, b: Grey) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(1e-6, float(np.linalg.norm(a)) * float(np.linalg.norm(b))))


def same_names(datasets: Sequence[Dataset]) -> list[Finding]:
    """Find images of one file name and size in two splits of which one was read without its pictures."""
    found = []
    for (i, one), (_, other) in combinations(enumerate(datasets), 2):
        if one.image_root is not None and other.image_root is not None:
            continue  # their pictures are compared
        theirs = {(scene.file_name, scene.size_wh): scene for scene in other.scenes}
        cases = [
            Case(
                image_id=scene.image_id,
                file_name=scene.file_name,
                note="by name; give --images to compare the pictures",
                other_file=str(other.source),
                other_image_id=twin.image_id,
                other_file_name=twin.file_name,
            )
            for scene in one.scenes
            if (twin := theirs.get((scene.file_name, scene.size_wh))) is not None
        ]
        found += suspicious("leaked_pictures", str(datasets[i].source), cases)
    return found
