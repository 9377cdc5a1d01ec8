"""Prompt templates: text with named gaps."""

from __future__ import annotations

import string
from collections.abc import Sequence

from augsynth.core.errors import ConfigError

DEFAULT_TEMPLATE = "a photo of a {category}"
CATEGORY, NEIGHBOURS, DESCRIPTION = PLACEHOLDERS = ("category", "neighbours", "description")


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
