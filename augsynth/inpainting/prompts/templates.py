"""Prompt templates: text with named gaps."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from augsynth.core.errors import ConfigError

DEFAULT_TEMPLATE = "a photo of a {category}"
CATEGORY, NEIGHBOURS, DESCRIPTION = PLACEHOLDERS = ("category", "neighbours", "description")
_ARTICLE = re.compile(r"(?<![^\s(\"'])([Aa])n?(\s+)$")  # at the end of the text before a name
_ACRONYM = re.compile(r"(?![A-Z]*[AEIOUY])[A-Z]+|[A-Z]{1,3}")  # read letter by letter: RBC, SUV
_VOWEL_LETTERS = "AEFHILMNORSX"  # whose names begin with a vowel: an R, a U
_CONSONANT_SOUND = re.compile(r"uni(?![nm])|u[ksrt][aeiou]|eu|ewe|one(?!r)|once\b")  # unicycle, user, one
_VOWEL_SOUND = re.compile(r"[aeiou8]|hour|heir|honest|honou?r")


def gaps(template: str) -> list[tuple[str, str | None]]:
    """Return the template as pairs of literal text and the placeholder after it, None after the last.

    Raises:
        ConfigError: It has no `{category}`, an unknown placeholder or a brace too many.
    """
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"template {template!r}: {error}; write placeholders as {known} and double other braces"
        ) from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or form or conversion):
            wrong = "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            raise ConfigError(
                f"template {template!r}: unknown placeholder {wrong}; the placeholders are {known}"
            )
    found = [(text, name) for text, name, _, _ in parts]
    if CATEGORY not in (name for _, name in found):
        raise ConfigError(f"template {template!r} has no {{category}}; write one where the name goes")
    return found


def check_templates(templates: Sequence[str]) -> None:
    """Raise ConfigError unless there is a template and each has `{category}` and known placeholders only."""
    if not templates:
        raise ConfigError("template is an empty list; write at least one with {category}")
    for template in templates:
        gaps(template)


def with_article(text: str, word: str) -> str:
    """Return the text before a word with the article that fits it, if it ends in one: "a photo of an" before "apple".

    What counts is how the word begins: an acronym is read letter by letter (an RBC, a UAV).
    """
    first = re.split(r"[\s_\-\d]", word, maxsplit=1)[0]
    if _ACRONYM.fullmatch(first):
        has_vowel = first[0] in _VOWEL_LETTERS
    else:
        lower = word.lower()
        has_vowel = bool(_VOWEL_SOUND.match(lower)) and not _CONSONANT_SOUND.match(lower)
    return _ARTICLE.sub(r"\1n\2" if has_vowel else r"\1\2", text)
