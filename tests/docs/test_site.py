"""The documentation builds as a site without a warning, and its diagram is what the script draws."""

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.pages import ROOT, SITE

DRAWN = ROOT / "docs" / "images"


@pytest.mark.docs
def test_the_site_builds_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-d",
        tmp_path / "trees",
    ]
    built = subprocess.run(
        [*command, ROOT / "docs", tmp_path / "html"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    for page in SITE:
        html = (tmp_path / "html" / f"{page.stem}.html").read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.M)[1]
        assert page.stem.startswith("benchmarks") or re.sub(r"[^\w ]", "", title.split()[0]) in html
    assert "Does it help?" in (tmp_path / "html" / "benchmarks.html").read_text(encoding="utf-8")
    assert 'href="benchmarks.html#' in (tmp_path / "html" / "results.html").read_text(encoding="utf-8")


def load_script():
    spec = importlib.util.spec_from_file_location("diagram", ROOT / "docs" / "diagram.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(path):
    """Return the texts that matplotlib notes beside the outlines of their letters."""
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def test_the_diagram_is_what_the_script_draws(tmp_path):
    script = load_script()
    script.main(tmp_path)
    for name in script.THEMES:
        file = f"how_it_works_{name}.svg"
        committed = DRAWN / file
        assert ElementTree.parse(committed).getroot().tag.endswith("svg")
        assert words_of(tmp_path / file) == words_of(committed)
        assert len(words_of(committed)) >= 2 * len(script.CARDS)
        pinned = re.search(r"^matplotlib==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)[1]
        if version("matplotlib") == pinned:
            assert (tmp_path / file).read_bytes() == committed.read_bytes(), "run python docs/diagram.py"


def test_texts_of_the_diagram_stay_in_their_cards():
    """No text is wider than its card, and none overlaps another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    script = load_script()
    figure = script.draw(script.THEMES["light"])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    width, _ = script.CARD_WH
    for box in boxes[: 2 * len(script.CARDS)]:
        assert box.width < width
    for at, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= script.WIDTH
        assert not any(box.overlaps(other) for other in boxes[at + 1 :])


def test_both_themes_are_of_one_drawing():
    assert words_of(DRAWN / "how_it_works_light.svg") == words_of(DRAWN / "how_it_works_dark.svg")
    assert (
        Path(DRAWN / "how_it_works_light.svg").read_bytes()
        != Path(DRAWN / "how_it_works_dark.svg").read_bytes()
    )
