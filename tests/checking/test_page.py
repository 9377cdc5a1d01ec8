"""The page of a check: pictures of what was found, in one file, and whatever names hold shows as text."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import augsynth
from augsynth.checking.crops import TILE_WH, draw_case
from augsynth.checking.findings import Case
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import ConfigError
from tests.checking.tiny_set import texture, write_set

HOSTILE = ["<script>alert(1)</script>", "\u202egnat", "a" * 10_000, "\x1b[31m&\"'>"]


def spoil(d):
    d["annotations"][0]["bbox"] = [10, 10, 1, 30]
    for k, name in enumerate(HOSTILE):
        d["categories"].append({"id": 20 + k, "name": name})
        record = {**d["annotations"][1], "id": 800 + k, "image_id": 2 + k, "category_id": 20 + k}
        d["annotations"].append(record)
        d["annotations"].append({**record, "id": 850 + k})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    path, images = write_set(root, spoil)
    Image.fromarray(texture(1)).save(images / "012.png")
    found = augsynth.check(path, images)
    found.write_page(root / "check.html")
    return root, found, (root / "check.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_else(page):
    text = page[2]
    assert not re.findall(r'(?:src|href)="(?!data:image/webp;base64,|#)', text)
    assert "<script" not in text and "@import" not in text and "url(" not in text
    assert "content=\"default-src 'none'" in text and "prefers-color-scheme: dark" in text


def test_every_finding_is_on_it_with_pictures(page):
    _, found, text = page
    for finding in found.findings:
        assert html.escape(finding.message) in text and finding.kind in text
    pictures = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", text)]
    assert len(pictures) == 1 + 2 + len(HOSTILE)
    for data in pictures:
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.width <= TILE_WH[0] and picture.height <= TILE_WH[1]
    assert len(text) < 1_000_000


def test_names_show_as_text(page):
    text = page[2]
    assert "&lt;script&gt;alert(1)" in text
    assert "\u202e" not in text and "\x1b" not in text and "a" * 200 not in text


def test_only_an_earlier_page_is_written_over(page):
    root, found, text = page
    found.write_page(root / "check.html")
    assert (root / "check.html").read_text(encoding="utf-8") == text
    (root / "mine.html").write_text("<p>mine")
    with pytest.raises(ConfigError, match="isn't an earlier output"):
        found.write_page(root / "mine.html")
    with pytest.raises(ConfigError, match="is an input of this command"):
        found.write_page(root / "a.json")


def test_the_box_is_drawn_where_it_is(tmp_path):
    path, images = write_set(tmp_path)
    scene = read_dataset(path, images=images).scenes[0]
    image = Image.new("RGB", scene.size_wh)
    data = draw_case(image, scene, Case(boxes_xywh=((60.0, 40.0, 40.0, 30.0),)))
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 120)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    scale = pixels.shape[1] / 100  # 2.5 times the longer side of the box is shown
    assert abs((columns[-1] - columns[0]) / scale - 40) < 2 and abs((rows[-1] - rows[0]) / scale - 30) < 2


def test_boxes_outside_and_empty_ones_can_be_drawn(tmp_path):
    path, images = write_set(tmp_path)
    scene = read_dataset(path, images=images).scenes[0]
    image = Image.fromarray(texture(1))
    for box in [
        (-50.0, -50.0, 10.0, 10.0),
        (1e6, 1e6, 5.0, 5.0),
        (10.0, 10.0, 0.0, 0.0),
        (5.0, 5.0, -9.0, 3.0),
    ]:
        assert draw_case(image, scene, Case(boxes_xywh=(box,)))


def test_a_page_without_pictures_lists_what_was_found(tmp_path):
    path, images = write_set(tmp_path, spoil)
    images.rename(tmp_path / "elsewhere")
    augsynth.check(path).write_page(tmp_path / "check.html")
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "<img" not in text and "001.png (annotation 1): can, 1×30 pixels" in text
    assert json.loads(path.read_text())["annotations"][0]["bbox"] == [10, 10, 1, 30]
