"""Text of others: what would steer a terminal is written out, everything else stays."""

import pytest

from augsynth.core.text import number_of, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edef", "abc\\u202edef"),
        ("line\u2028end", "line\\u2028end"),
        ("not utf-8: \udcff", "not utf-8: \\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_control_and_hidden_characters_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["", "plain can't", "図 é $x_{1}$", "👩\u200d👧", "क\u094d\u200cष"])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (2000, "category", "2,000 categories"),
        (1, "category", "1 category"),
    ],
)
def test_a_number_and_its_noun_agree(count: int, noun: str, said: str) -> None:
    assert number_of(count, noun) == said
