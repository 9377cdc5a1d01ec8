import numpy as np
import pytest
from PIL import Image

from augsynth.core.figures import Scale, contact_sheet, heat_map, is_heat_map

GREEN, RED = (0, 150, 60), (215, 35, 35)


def crop(width=40, height=40, value=128):
    return np.full((height, width, 3), value, np.uint8)


def load(path):
    return np.array(Image.open(path).convert("RGB"))


def count(picture, colour):
    return int((picture == colour).all(axis=2).sum())


def test_a_sheet_holds_every_tile_large_enough_to_judge(tmp_path):
    tiles = [(crop(value=90), crop(value=160))] * 5
    contact_sheet(tiles, path=tmp_path / "s.png", columns=2, tile_px=150)
    sheet = load(tmp_path / "s.png")
    for value in (90, 160):
        assert count(sheet, (value,) * 3) == 5 * 150 * 150
    assert sheet.shape[1] < 2 * (2 * 150 + 40) and sheet.shape[0] > 3 * 150


def test_boxes_are_outlined_on_the_last_picture_at_their_place(tmp_path):
    box = np.array([10.0, 10, 30, 30])
    contact_sheet(
        [(crop(), crop()), (crop(), crop())],
        path=tmp_path / "s.png",
        boxes_xyxy=[box, None],
        accepted=[True, False],
        tile_px=160,
        columns=2,
    )
    sheet = load(tmp_path / "s.png")
    rows, columns = np.nonzero((sheet == GREEN).all(axis=2))
    assert count(sheet, RED) == 0 and len(rows) > 4 * 80
    assert rows.max() - rows.min() == pytest.approx(80, abs=6)
    left = 14 + 160 + 4  # margin, the picture before, a gap
    assert columns.min() == pytest.approx(left + 40, abs=4) and columns.max() == pytest.approx(
        left + 120, abs=4
    )
    inside = sheet[rows.min() + 6 : rows.max() - 5, columns.min() + 6 : columns.max() - 5]
    assert (inside == 128).all(), "the outline must not cover what it frames"


def test_a_box_at_the_border_stays_on_its_picture(tmp_path):
    contact_sheet([(crop(),)], path=tmp_path / "a.png")
    contact_sheet(
        [(crop(),)], path=tmp_path / "b.png", boxes_xyxy=[np.array([[-5.0, -5, 45, 45], [38, 0, 40, 3]])]
    )
    plain, boxed = load(tmp_path / "a.png"), load(tmp_path / "b.png")
    rows, columns = np.nonzero((plain == 128).all(axis=2))
    outside = np.ones(plain.shape[:2], bool)
    outside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
    assert (plain[outside] == boxed[outside]).all() and (plain != boxed).any()


def test_captions_tell_accepted_from_rejected_and_are_cut_to_fit(tmp_path):
    contact_sheet(
        [(crop(),), (crop(),)],
        path=tmp_path / "s.png",
        captions=["can 0.93\naccepted", "a very long caption that can't fit under one small picture"],
        accepted=[True, False],
        columns=1,
        title="Wörter, кириллица",
    )
    sheet = load(tmp_path / "s.png")
    assert count(sheet, GREEN) > 20 and count(sheet, RED) > 20
    assert (sheet[:, -12:] == 255).all(), "text reaches into the margin"


@pytest.mark.parametrize("shape", [(7, 300), (300, 7), (1, 1), (600, 800)])
def test_any_shape_of_crop_fits_its_place(tmp_path, shape):
    contact_sheet([(np.zeros((*shape, 3), np.uint8),)] * 3, path=tmp_path / "s.png", columns=3, tile_px=128)
    sheet = load(tmp_path / "s.png")
    assert count(sheet, (0, 0, 0)) == 3 * 128 * max(1, round(128 * min(shape) / max(shape)))


def test_the_same_input_gives_the_same_bytes(tmp_path):
    matrix = np.random.default_rng(0).normal(0, 0.2, (12, 12))
    for name in ("a", "b"):
        contact_sheet([(crop(),)], path=tmp_path / f"sheet_{name}.png", captions=["can"], title="t")
        heat_map(matrix, [f"category {i}" for i in range(12)], path=tmp_path / f"map_{name}.png", title="t")
    for kind in ("sheet", "map"):
        assert (tmp_path / f"{kind}_a.png").read_bytes() == (tmp_path / f"{kind}_b.png").read_bytes()
    assert not Image.open(tmp_path / "sheet_a.png").text
    assert Image.open(tmp_path / "map_a.png").text == {"Software": "augsynth heat map"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tiles": []}, "at least one tile"),
        ({"tiles": [()]}, "each tile a picture"),
        ({"captions": ["a", "b"]}, "captions must have one entry"),
        ({"boxes_xyxy": []}, "boxes_xyxy must have one entry"),
        ({"accepted": []}, "accepted must have one entry"),
        ({"columns": 0}, "columns must be"),
        ({"tile_px": 64}, "tile_px ≥ 128"),
    ],
)
def test_a_sheet_that_makes_no_sense_is_refused(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(**{"tiles": [(crop(),)], "path": tmp_path / "s.png", **wrong})


def redness(path, matrix, **options):
    """Red minus blue of each pixel of a two-category map without its colour bar."""
    heat_map(np.array(matrix, float), ["a", "b"], path=path, **options)
    picture = load(path).astype(int)[:, : -load(path).shape[1] // 4]
    return picture[..., 0] - picture[..., 2]


def test_colours_diverge_at_the_centre(tmp_path):
    red = redness(tmp_path / "m.png", [[0, 0.5], [-0.5, 0]])
    assert (red > 60).sum() > 2000 and (red < -60).sum() > 2000
    assert 0.5 < (red > 60).sum() / (red < -60).sum() < 2


@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_colours_follow_the_scale_and_not_the_data(tmp_path, centre):
    weak = np.array([[0, 0.02], [-0.02, 0]]) + centre
    assert np.abs(redness(tmp_path / "m.png", weak, scale=Scale(centre=centre))).max() < 30
    assert np.abs(redness(tmp_path / "m.png", weak, scale=Scale(centre=centre, reach=0.03))).max() > 60


def test_the_diagonal_has_no_colour(tmp_path):
    assert np.abs(redness(tmp_path / "m.png", [[9, 0], [0, -9]])).max() < 30
    assert count(load(tmp_path / "m.png"), (183, 183, 183)) > 5000


def test_cells_that_say_nothing_are_grey_whatever_their_value(tmp_path):
    strong = [[0, 5.0], [-5.0, 0]]
    nothing = np.zeros((2, 2), bool)
    assert np.abs(redness(tmp_path / "m.png", strong, told=nothing)).max() < 30
    assert count(load(tmp_path / "m.png"), (237, 237, 237)) > 8000
    half = redness(tmp_path / "m.png", strong, told=np.array([[0, 1], [0, 0]], bool))
    assert (half > 60).sum() > 2000 and (half < -60).sum() == 0


@pytest.mark.parametrize("size", [1, 2, 16, 60])
@pytest.mark.parametrize("centre", [0.0, None])
def test_maps_of_any_size_are_drawn_with_gaps_for_the_unknown(tmp_path, size, centre):
    matrix = np.random.default_rng(0).uniform(0, 0.3, (size, size))
    matrix[0, -1] = np.nan
    names = ["Aluminium foil with a name that is far too long for any axis"]
    names += [f"c{i}" for i in range(1, size)]
    heat_map(matrix, names, path=tmp_path / "m.png", title="t", scale=Scale("npmi", centre))
    if size > 1:
        assert count(load(tmp_path / "m.png"), (237, 237, 237)) > 50
    assert min(load(tmp_path / "m.png").shape[:2]) > (1200 if size == 60 else 300)


@pytest.mark.parametrize(
    "name",
    ["$", "costs $5 and $\\alpha$", "\\frac{", "a\nb\x1b[31m", "日本語", "🐟", "x" * 500, "_^{%", "<b>"],
)
def test_a_name_is_shown_as_it_is(tmp_path, name, recwarn):
    heat_map(np.zeros((2, 2)), [name, "b"], path=tmp_path / "m.png", title=f"{name}\n{name}", note=name)
    assert load(tmp_path / "m.png").shape[1] < 1600
    assert not recwarn.list


def test_a_dollar_is_drawn(tmp_path):
    """A name in mathtext would lose its dollars: the axis would be shorter."""
    heat_map(np.zeros((2, 2)), ["$m$", "b"], path=tmp_path / "dollar.png")
    heat_map(np.zeros((2, 2)), ["m", "b"], path=tmp_path / "plain.png")
    dark = [(load(tmp_path / f"{n}.png")[:, :150] < 100).all(axis=2).sum() for n in ("dollar", "plain")]
    assert dark[0] > dark[1] + 20


def test_a_heat_map_is_known_as_one(tmp_path):
    heat_map(np.zeros((2, 2)), ["a", "b"], path=tmp_path / "m.png")
    contact_sheet([(crop(),)], path=tmp_path / "s.png")
    (tmp_path / "text.png").write_text("mine")
    assert is_heat_map(tmp_path / "m.png")
    assert not any(is_heat_map(tmp_path / name) for name in ("s.png", "text.png", "missing.png"))


def test_a_matrix_that_does_not_fit_its_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be \(3, 3\) for 3 names, got \(2, 2\)"):
        heat_map(np.zeros((2, 2)), ["a", "b", "c"], path=tmp_path / "m.png")
