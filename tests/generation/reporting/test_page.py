"""The page: whole in itself, its data readable whatever names there are, and no heavier than it may be."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from augsynth.generation.reporting.page import json_for_script
from tests.generation.reporting.pages import NAMES, page_of

HOSTILE = (
    "</script><script>document.title='broken'</script>",
    "\u05db\u05d5\u05e1 \u202egnp.exe",
    "x" * 10_000,
    "{{ 7 * 7 }} & \"'<b>",
    "nul\x00 bell\x07 line\u2028end\ud800",
)


class Reader(HTMLParser):
    """What a browser would make of a page: elements, texts, and what scripts hold."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def data_of(reader: Reader) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reader.scripts[-2])
    return found


def test_a_page_refers_to_nothing_outside() -> None:
    reader = Reader(page_of(12))
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img")
        assert "src" not in attributes and not str(attributes.get("href", "#")).startswith(("http", "//"))
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none';") and "http" not in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", "".join(reader.scripts))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_and_data_and_nothing_else(name: str) -> None:
    plain, hostile = Reader(page_of(9)), Reader(page_of(9, (name, *NAMES[1:]), prompt=name, title=name))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    shown = data_of(hostile)["texts"]["categories"][0]
    assert shown[:40] in hostile.text and "\u202e" not in hostile.text and "49" not in shown
    assert data_of(hostile)["columns"]["category"] == data_of(plain)["columns"]["category"]


def test_json_can_not_end_its_script() -> None:
    texts = ["</script>", "<!--", "\u2028\u2029", "&amp;", "\ud800", "\u05db"]
    written = str(json_for_script({"a": texts}))
    assert json.loads(written) == {"a": texts}
    assert written.isascii() and not re.search("[<>&]", written)


def test_the_top_says_three_things_and_what_to_do_next() -> None:
    text = " ".join(Reader(page_of(60)).text.split())
    for words in (
        "34 of 60 attempts were accepted (yield 57%)",
        "The filter accepts 57 of 60 of your real objects (95%)",
        "Use it: what is kept passed a filter that knows your objects",
        "augsynth finalize runs/first --veto veto.json",
        "augsynth generate --n 9 --out NEW_FOLDER",
        "apache-2.0",
        "CC BY 4.0",
    ):
        assert words in text


def test_every_control_has_a_name_and_every_table_heads() -> None:
    reader = Reader(page_of(12))
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("h1") == 1 and "main" in tags and ("html", {"lang": "en"}) in reader.tags
    assert all("aria-label" in a for t, a in reader.tags if a.get("role") in ("region", "img"))
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    named = {a.get("href", "").removeprefix("#") for t, a in reader.tags if t == "a"} - {""}  # type: ignore[union-attr]
    assert named <= set(ids)


def test_a_run_that_has_painted_nothing_has_a_page_too() -> None:
    page = page_of(0, reasons={}, categories=[], accepted=0, wanted=9, status="running")
    assert b"its mask" not in page and b"its mask" in page_of(9)
    assert "Nothing has been attempted yet" in page.decode()
    assert data_of(Reader(page))["columns"] == {}


def test_a_page_without_pictures_is_small() -> None:
    assert len(page_of(0, reasons={}, categories=[])) < 60_000
