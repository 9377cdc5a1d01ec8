"""Arrays of JSON values: what isn't of the shape and range is a ValueError that names the field."""

import numpy as np
import pytest

from augsynth.core.arrays import floats, unique_ids, wholes


def test_what_fits_is_taken():
    np.testing.assert_array_equal(floats([[1, 2.5]], "m", (1, 2)), [[1, 2.5]])
    assert floats([], "m", (-1, 3)).shape == (0, 3) and floats([[0, 0, 0]], "m", (-1, 3)).shape == (1, 3)
    assert floats(2, "m", ()) == 2 and wholes([3, 4.0], "m", (2,)).dtype == np.int64
    edges = [2**63 - 1, -(2**63), 0, 2**53 + 1]
    assert unique_ids(edges, "ids").tolist() == edges


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 2], "m: must be finite numbers of shape any × 3, not 2"),
        ([[1, 2]], "not 1 × 2"),
        ([[1, 2, "x"]], "must be numbers"),
        ([[1, 2, 3], [1]], "must be numbers"),
        ([[1, 2, 10**400]], "must be numbers"),
        ([[1, 2, float("nan")]], "must be finite"),
        ([[1, 2, None]], "must be"),
        ([[1, 2, 1e10]], "must lie in"),
        ({}, "must be"),
        ("abc", "must be"),
    ],
)
def test_what_does_not_fit_is_named(values, says):
    with pytest.raises(ValueError, match="m: ") as caught:
        floats(values, "m", (-1, 3))
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[0.5], [-1], [2**60], ["1"]])
def test_wholes_refuse(values):
    with pytest.raises(ValueError, match="m: "):
        wholes(values, "m", (1,))


@pytest.mark.parametrize("values", [[1.0], [True], ["1"], [1, 1], [2**63], {}, None, 3])
def test_ids_refuse(values):
    with pytest.raises(ValueError, match="ids: "):
        unique_ids(values, "ids")
