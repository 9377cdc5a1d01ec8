"""Text that others wrote, as it may be shown."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset(
    {"Cc", "Cf", "Cs", "Zl", "Zp"}
)  # control, format (bidirectional too), surrogates, line ends


def printable(text: str) -> str:
    r"""Return a text in which what steers a terminal is written out: an escape character becomes `\x1b`.

    Joiners (U+200C, U+200D), without which some scripts and emoji fall apart, are kept.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(character) for character in text)


def number_of(count: int, noun: str) -> str:
    """Return how many of what there are: `1 image`, `2,000 images`, `3 categories`."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun}"


def _written_out(character: str) -> str:
    if character in "\u200c\u200d" or unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
