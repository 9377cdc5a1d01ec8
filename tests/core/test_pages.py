"""What pages share: texts of others stay texts, and one style."""

import base64
from pathlib import Path

import pytest

from augsynth.core.pages import data_url, encoded, open_templates, short, style_sheet


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("cup", "cup"),
        ("<script>", "<script>"),
        ("a\nb\x00\x1b[31m", "a\\nb\\x00\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),
        ("\u05db\u05d5\u05e1", "\u05db\u05d5\u05e1"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_texts_of_others_are_one_line_that_steers_nothing(given: str, shown: str) -> None:
    assert short(given) == shown


def test_a_name_of_ten_thousand_letters_is_cut() -> None:
    assert len(short("x" * 10_000)) == 120 and short("x" * 10_000).endswith("…")
    assert short("x" * 120) == "x" * 120
    assert short(" " * 9000 + "x").endswith("…")


def test_texts_are_escaped_and_names_must_exist(tmp_path: Path) -> None:
    (tmp_path / "t.html.j2").write_text("<p>{{ name | short }}, {{ 1234567 | count }}</p>{{ style }}")
    page = open_templates(tmp_path).get_template("t.html.j2").render(name="<script>", style=style_sheet())
    assert page.startswith("<p>&lt;script&gt;, 1,234,567</p>")
    assert "prefers-color-scheme: dark" in page and "&#" not in page.partition("</p>")[2]
    with pytest.raises(Exception, match="'name' is undefined"):
        open_templates(tmp_path).get_template("t.html.j2").render(style="")


def test_pictures_and_pages_are_bytes_again() -> None:
    assert base64.b64decode(data_url(b"webp").removeprefix("data:image/webp;base64,")) == b"webp"
    assert encoded("é\ud800") == "é".encode() + b"\\ud800"
