"""From a category to the text that conditions the model."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from augsynth.core.errors import ConfigError
from augsynth.core.options import check_options, option
from augsynth.core.scene import Category, FloatArray, IntArray, Scene
from augsynth.core.seeding import derive_rng
from augsynth.inpainting.prompts.file import Words, read_words, tidy
from augsynth.inpainting.prompts.templates import (
    CATEGORY,
    DEFAULT_TEMPLATE,
    DESCRIPTION,
    NEIGHBOURS,
    check_templates,
    gaps,
    with_article,
)

__all__ = [
    "BACKGROUND_PROMPT",
    "DEFAULT_TEMPLATE",
    "PromptBook",
    "PromptRules",
    "TokenLimit",
    "category_prompt",
    "check_distinct",
    "nearest_categories",
]

BACKGROUND_PROMPT = "background"
MAX_NEIGHBOURS = 3
_OTHER_WORDS = (
    "give one of them another word or a description in a file of `prompts`, or leave it out of `categories`"
)


def category_prompt(name: str, *, template: str = DEFAULT_TEMPLATE) -> str:
    """Return the prompt for a category name alone.

    Raises:
        ConfigError: The template has no `{category}` or an unknown placeholder.
    """
    return _filled(template, {CATEGORY: name})[0]


@dataclass(frozen=True, slots=True, eq=False)
class TokenLimit:
    """How much of a text the model reads.

    Attributes:
        tokenizer: Called with a text, returns an object with `input_ids`, start and end included.
        most: Tokens that are read.
    """

    tokenizer: Any
    most: int

    def holds(self, text: str) -> bool:
        """Return whether the model reads all of the text."""
        return self.count(text) <= self.most

    def beginning(self, text: str) -> str:
        """Return the longest beginning of a text that the model reads, without space at its end."""
        longer = bisect_left(range(len(text)), True, key=lambda n: not self.holds(text[: n + 1]))
        return text[:longer].rstrip()

    def count(self, text: str) -> int:
        """Return how many tokens the text is, start and end included."""
        return len(self.tokenizer(text, truncation=False, verbose=False).input_ids)


@dataclass(frozen=True, slots=True)
class PromptRules:
    """How a model is told what to paint.

    Raises:
        ConfigError: A template is wrong.
    """

    template: str | tuple[str, ...] = option(
        DEFAULT_TEMPLATE,
        "Prompt with {category}, or several to draw from; {neighbours} and {description} are filled, too.",
    )
    prompts: str | None = option(
        None, "YAML or JSON file of synonyms, descriptions and negative prompts by category name."
    )
    negative_prompt: str = option("", "What no object should look like: text of the unconditional branch.")

    def __post_init__(self) -> None:
        check_options(self)
        check_templates(self.templates)

    @property
    def templates(self) -> tuple[str, ...]:
        """The prompt templates that are drawn from."""
        return (self.template,) if isinstance(self.template, str) else self.template


@dataclass(frozen=True, slots=True, eq=False)
class PromptBook:
    """Everything a run says to the model about its categories.

    Attributes:
        words: How each category is spoken of, by COCO id.
        templates: Drawn from for every object.
        negative_prompt: What no object should look like.
        limit: How much the model reads; None when that isn't known, and nothing is cut.
        cut: Names that are longer than that, with the beginning that is read instead.
    """

    words: Mapping[int, Words]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    negative_prompt: str = ""
    limit: TokenLimit | None = field(default=None)
    cut: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls, rules: PromptRules, categories: Sequence[Category], *, wanted: Sequence[str] = ()
    ) -> PromptBook:
        """Return the book of a run, checked before any model is loaded.

        Args:
            rules: How the model is told what to paint.
            categories: Of the dataset.
            wanted: Names of those that are painted; empty means all.

        Raises:
            ConfigError: The file of prompts is wrong, or no prompt could tell two wanted categories apart.
        """
        words = {category.id: Words((tidy(category.name),)) for category in categories}
        if rules.prompts is not None:
            words |= read_words(Path(rules.prompts), categories)
        check_distinct([c for c in categories if not wanted or c.name in wanted], words)
        return cls(words, tuple(tidy(t) for t in rules.templates), tidy(rules.negative_prompt))

    def limited_to(
        self, tokenizer: Any, categories: Sequence[Category], *, is_shown: bool = False
    ) -> PromptBook:
        """Return the book for a model that reads no more than its tokenizer's length; longer names are cut.

        Args:
            tokenizer: Of the transformers library, or None when the model has none.
            categories: Those that will be painted.
            is_shown: Whether the model gets the object itself, so that nothing depends on its name.

        Raises:
            ConfigError: Two of them begin alike, and are the same to the model when they are cut.
        """
        most = getattr(tokenizer, "model_max_length", None)
        if not isinstance(most, int) or most > 100_000:  # what transformers gives when it doesn't know
            return self
        limit, words, cut = TokenLimit(tokenizer, most), dict(self.words), dict[str, str]()
        for category in categories:
            entry = words[category.id]
            cut |= {name: limit.beginning(name) for name in entry.synonyms if not limit.holds(name)}
            words[category.id] = replace(
                entry, synonyms=tuple(cut.get(name, name) for name in entry.synonyms)
            )
        if is_shown:
            cut = {}
        if cut:
            check_distinct(
                categories,
                words,
                advice=f"the model reads {most} tokens: give shorter synonyms in a file of prompts",
            )
        return replace(self, words=words, limit=limit, cut=cut)

    def notices(self) -> list[str]:
        """Return a line about the names that are cut, if there are any."""
        read = [f"{name[:60]!r} as {beginning!r}" for name, beginning in self.cut.items()]
        advice = "the model reads no more of long names; a file of prompts can give it shorter ones"
        return [f"{advice}: {', '.join(read)}"] if read else []

    def prompt(self, category_id: int, *, neighbour_ids: Sequence[int] = (), seed: int) -> str:
        """Return the prompt of one object; the same seed gives the same text.

        A template that names neighbours or a description is drawn only where there are any; when every
        template does, the default one takes its place. A description that the template has no place for
        follows after a comma. What the model wouldn't read is left out: neighbours first, farthest first,
        then words from the end; never the category's name.

        Args:
            category_id: COCO id.
            neighbour_ids: Categories of the objects nearby, nearest first.
            seed: Of the object.
        """
        rng = derive_rng(seed, "prompt")
        turn, choice = rng.random(2)
        words = self.words[category_id]
        name = words.synonyms[int(choice * len(words.synonyms))]
        names = [self.words[other].synonyms[0] for other in neighbour_ids]
        head, text = "", name
        for count in range(len(names), -1, -1):
            values = {CATEGORY: name, NEIGHBOURS: ", ".join(names[:count]), DESCRIPTION: words.description}
            template = self._template(values, turn)
            text, head = _filled(template, values)
            if words.description and f"{{{DESCRIPTION}}}" not in template:
                text = f"{text}, {words.description}"
            if self.limit is None or self.limit.holds(text):
                return text
        return self._cut(text, head, name)

    def negative(self, category_id: int) -> str | None:
        """Return the negative prompt of a category with one of its own, the run's included; else None."""
        own = self.words[category_id].negative
        return ", ".join(filter(None, (self.negative_prompt, own))) if own else None

    def _template(self, values: Mapping[str, str], turn: float) -> str:
        """Return the template that a turn in [0, 1) picks among those that have all they need."""
        empty = [f"{{{key}}}" for key, value in values.items() if not value]
        usable = [t for t in self.templates if not any(gap in t for gap in empty)]
        return usable[int(turn * len(usable))] if usable else DEFAULT_TEMPLATE

    def _cut(self, text: str, head: str, name: str) -> str:
        """Return as much of a text as the model reads, cut between words; all of the name in any case."""
        assert self.limit is not None  # nothing is cut without one
        rest = text[len(head) :].split(" ")
        for count in range(len(rest) - 1, -1, -1):
            shorter = (head + " ".join(rest[:count])).rstrip(" ,;:.")
            if len(shorter) >= len(head.rstrip(" ,;:.")) and self.limit.holds(shorter):
                return shorter
        return name


def _filled(template: str, values: Mapping[str, str]) -> tuple[str, str]:
    """Return the template with its gaps filled, and its part up to and including the category."""
    text, head = "", ""
    for literal, name in gaps(template):
        value = "" if name is None else values.get(name, "")
        text += (with_article(literal, value) if value else literal) + value
        if name == CATEGORY and not head:
            head = text
    return text, head


def check_distinct(
    categories: Sequence[Category], words: Mapping[int, Words], *, advice: str = _OTHER_WORDS
) -> None:
    """Raise ConfigError, with what to do, when no prompt could tell two categories apart.

    Case, underscores, spaces and how a letter is encoded make no difference to a text encoder.
    """
    owners: dict[tuple[str, str], Category] = {}
    for category in categories:
        entry = words[category.id]
        for name in entry.synonyms:
            other = owners.setdefault((_same(name), _same(entry.description)), category)
            if other.id != category.id:
                raise ConfigError(
                    f"categories {other.id} ({other.name!r}) and {category.id} ({category.name!r}) share the "
                    f"word {name!r}, so that no prompt tells them apart; {advice}"
                )


def _same(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split())


def nearest_categories(
    scene: Scene, box_xyxy: FloatArray, *, category_id: int, window_xyxy: IntArray
) -> list[int]:
    """Return up to three other categories of the objects nearest to a box, nearest first.

    Only objects that the edit window shows count, and no crowds; what the model doesn't see it would paint.

    Args:
        scene: The objects.
        box_xyxy: (4,) the new object.
        category_id: Of the new object; never among its own neighbours.
        window_xyxy: (4,) the edit window.
    """
    boxes = scene.boxes_xyxy
    seen = (boxes[:, :2] < window_xyxy[2:]).all(1) & (boxes[:, 2:] > window_xyxy[:2]).all(1)
    places = np.nonzero(seen & ~scene.is_crowd & (scene.category_ids != category_id))[0]
    near = boxes[places]
    apart = np.maximum(0, np.maximum(near[:, :2] - box_xyxy[2:], box_xyxy[:2] - near[:, 2:]))
    centres = (near[:, :2] + near[:, 2:] - box_xyxy[:2] - box_xyxy[2:]) / 2
    order = np.lexsort((np.hypot(*centres.T), np.hypot(*apart.T)))
    return list(dict.fromkeys(scene.category_ids[places[order]].tolist()))[:MAX_NEIGHBOURS]
