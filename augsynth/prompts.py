"""From a category to the text that conditions the model."""

from __future__ import annotations

from augsynth.errors import ConfigError

DEFAULT_TEMPLATE = "a photo of a {category}"
BACKGROUND_PROMPT = "background"


def category_prompt(name: str, *, template: str = DEFAULT_TEMPLATE) -> str:
    """Return the prompt for a category name.

    Raises:
        ConfigError: The template has no `{category}` field or another one.
    """
    try:
        prompt = template.format(category=name)
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"prompt template {template!r}: {error}; use only {{category}}") from error
    if "{category}" not in template:
        raise ConfigError(f"prompt template {template!r} has no {{category}}; write one where the name goes")
    return prompt
