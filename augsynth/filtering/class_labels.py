"""What a classifier calls the categories of a dataset."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from augsynth.core.errors import ConfigError
from augsynth.core.hub import plain_name
from augsynth.core.scene import Category
from augsynth.inpainting.prompts.book import category_prompt


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The categories, and by which words they may be known.

    Attributes:
        categories: All of the dataset.
        wanted_ids: COCO ids of those that may be painted.
        synonyms: Words of the user for a category, by COCO id.
        class_map: What the classifier calls a category, by category name; it stands in for name and synonyms.
    """

    categories: Sequence[Category]
    wanted_ids: frozenset[int]
    synonyms: Mapping[int, Sequence[str]] = field(default_factory=dict)
    class_map: Mapping[str, Sequence[str]] = field(default_factory=dict)


def match_labels(
    id2label: Mapping[int, str], vocabulary: Vocabulary, *, source: str
) -> dict[int, tuple[int, ...]]:
    """Return the labels of each wanted category by COCO id: those of its name, synonyms or line in `class_map`.

    A label that is a list with commas, as ImageNet's are, is known by each of its words.

    Raises:
        ConfigError: A wanted category has no label, or `class_map` names one that there isn't.
    """
    places: dict[str, list[int]] = {}
    for place, text in id2label.items():
        for word in dict.fromkeys(plain_name(w) for w in (text, *text.split(","))):
            places.setdefault(word, []).append(int(place))
    found: dict[int, tuple[int, ...]] = {}
    missing = []
    for category in vocabulary.categories:
        if category.id not in vocabulary.wanted_ids:
            continue
        listed = vocabulary.class_map.get(category.name, ())
        for label in listed:
            if plain_name(label) not in places:
                raise ConfigError(
                    f"class_map: {category.name}: the classifier {source} has no label {label!r}; "
                    f"{_advice(label, id2label)}"
                )
        words = listed or (category.name, *vocabulary.synonyms.get(category.id, ()))
        labels = {k for word in words for k in places.get(plain_name(word), ())}
        found[category.id] = tuple(sorted(labels))
        if not labels:
            missing.append(category.name)
    if missing:
        shown = ", ".join(list(id2label.values())[:8]) + (", …" if len(id2label) > 8 else "")
        raise ConfigError(
            f"the classifier {source} has no label for {len(missing)} of the categories: {', '.join(missing)} (it "
            f"knows {shown}); name its labels in class_map ({{{missing[0]}: LABEL}}), or pass CLIP or SigLIP"
        )
    return found


def texts_of(vocabulary: Vocabulary) -> dict[int, tuple[str, ...]]:
    """Return what a model that reads text is told of each category, by COCO id: "a photo of a NAME"."""
    texts: dict[int, tuple[str, ...]] = {}
    for category in vocabulary.categories:
        words = vocabulary.class_map.get(category.name) or vocabulary.synonyms.get(category.id)
        tidied = (" ".join(word.replace("_", " ").split()) for word in words or (category.name,))
        texts[category.id] = tuple(dict.fromkeys(category_prompt(word) for word in tidied))
    return texts


def check_top_k(top_k: int, num_labels: int, *, source: str) -> None:
    """Raise ConfigError when any object would be among so many of the labels."""
    if top_k >= num_labels:
        advice = "lower top_k" if num_labels > 1 else "choose another classifier"
        raise ConfigError(
            f"top_k is {top_k} and the classifier {source} tells {num_labels} classes apart, so that every object "
            f"would pass; {advice}"
        )


def _advice(label: str, id2label: Mapping[int, str]) -> str:
    plain = {plain_name(text): text for text in id2label.values()}
    near = difflib.get_close_matches(plain_name(label), plain, n=1)
    return f"did you mean {plain[near[0]]!r}?" if near else f"it knows {', '.join(list(plain.values())[:8])}"
