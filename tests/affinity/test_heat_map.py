"""Numbers in words, what the colours of each measure mean, and what a drawn map says."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from augsynth.affinity import heat_map
from augsynth.affinity.embeddings import Embeddings
from augsynth.affinity.heat_map import draw_heat_map, factor_text, scale_of, value_text
from augsynth.affinity.model import Affinity
from augsynth.affinity.scoring import MEASURES
from tests.affinity.tiny_data import TINY, VECTORS, dataset, groups, named_groups


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (80, "× 80"),
        (9.96, "× 10"),
        (2.7, "× 2.7"),
        (0.999, "× 1.0"),
        (0.31, "× 0.31"),
        (0.009, "× < 0.01"),
        (2e7, "× 2e+07"),
    ],
)
def test_factors_have_the_digits_that_matter(factor: float, text: str) -> None:
    assert factor_text(math.log(factor)) == text


def test_factors_beyond_all_bounds_are_told() -> None:
    assert factor_text(math.inf) == factor_text(1e6) == "× 1e+43"
    assert factor_text(-math.inf) == "× < 0.01"


def test_values_have_their_unit() -> None:
    half = math.log(2)
    told = {
        "loglinear": (half, "odds × 2.0"),
        "blend": (half, "odds × 2.0"),
        "lift": (2.0, "lift × 2.0"),
        "conditional": (0.254, "chance 25%"),
        "npmi": (0.5, "npmi +0.50"),
        "jaccard": (0.5, "jaccard +0.50"),
        "cosine": (0.5, "cosine +0.50"),
        "clip": (-0.5, "cosine -0.50"),
    }
    assert {*MEASURES} < {*told}
    for measure, (value, text) in told.items():
        assert value_text(measure, value) == text
    assert value_text("lift", 0.0) == "lift × < 0.01"


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_has_a_scale_that_no_data_change(measure: str) -> None:
    small, large = (scale_of(Affinity.fit(data, measure=measure, strength=1.0)) for data in (TINY, groups()))
    assert (small.label, small.centre, small.reach, small.ticks) == (
        large.label,
        large.centre,
        large.reach,
        large.ticks,
    )
    shares = measure in ("conditional", "jaccard", "cosine")
    assert (small.centre is None) is shares
    if measure in ("loglinear", "lift"):  # × 1/8 to × 8
        assert (small.centre, small.reach) == (0, math.log(8))
        assert dict(small.ticks)[math.log(2)] == "× 2"


def test_names_are_centred_at_their_median() -> None:
    named = Affinity.fit(named_groups(), source="clip", embeddings=Embeddings(VECTORS))
    others = named.matrix[~np.eye(4, dtype=bool)]
    assert scale_of(named).centre == pytest.approx(np.median(others))


@pytest.fixture
def drawn(monkeypatch):
    """What `draw_heat_map` hands to the drawing."""
    calls = []
    monkeypatch.setattr(
        heat_map, "heat_map", lambda values, names, **options: calls.append((values, options))
    )

    def draw(affinity, **options):
        draw_heat_map(affinity, path=io.BytesIO(), **options)
        return calls.pop()

    return draw


def test_a_map_says_what_it_is_of(drawn) -> None:
    affinity = Affinity.fit(groups())
    values, options = drawn(affinity, dataset="trash/a.json")
    assert options["title"].startswith(
        "trash/a.json: affinity by loglinear\n60 images, 138 objects\nstructure found, "
    )
    np.testing.assert_array_equal(values, affinity.matrix)
    np.testing.assert_array_equal(options["told"], affinity.cooccurrence.beyond_chance)
    assert options["told"].any()
    assert options["note"].startswith("pale grey: no more than chance explains\ndark grey: ")
    lift = Affinity.fit(groups(), measure="lift")
    np.testing.assert_allclose(drawn(lift)[0], np.log(lift.matrix))
    assert drawn(lift)[1]["title"].startswith("affinity by lift\n")


def test_of_many_categories_the_commonest_are_shown(drawn, monkeypatch) -> None:
    affinity = Affinity.fit(groups())
    monkeypatch.setattr(heat_map, "_MAX_SHOWN", 2)
    values, options = drawn(affinity)
    common = np.sort(np.argsort(-affinity.cooccurrence.counts, kind="stable")[:2])
    np.testing.assert_array_equal(values, affinity.matrix[np.ix_(common, common)])
    assert options["told"].shape == (2, 2)
    assert options["title"].startswith("affinity by loglinear, the 2 commonest of 4 categories\n")


def test_where_no_structure_is_found_all_is_grey(drawn) -> None:
    rng = np.random.default_rng(0)
    few = Affinity.fit(dataset(*[tuple(i for i in (7, 3, 5) if rng.random() < 0.6) for _ in range(60)]))
    _, options = drawn(few)
    assert not options["told"].any()
    assert "no structure found" in options["title"]
    assert options["note"].startswith("pale grey: no more than chance explains\ndark grey: ")


def test_names_are_never_grey(drawn) -> None:
    named = Affinity.fit(named_groups(), source="clip", embeddings=Embeddings(VECTORS))
    _, options = drawn(named)
    assert options["told"].sum() == 12
    assert options["note"] == "dark grey: the same category"


def test_the_picture_is_the_same_for_the_same_input() -> None:
    affinity, pictures = Affinity.fit(TINY, measure="npmi"), [io.BytesIO(), io.BytesIO()]
    for file in pictures:
        draw_heat_map(affinity, path=file, dataset="t")
    assert pictures[0].getvalue() == pictures[1].getvalue()
    assert min(Image.open(pictures[0]).size) > 300
