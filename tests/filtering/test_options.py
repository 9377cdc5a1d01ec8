"""Options of the filter: which models they ask, and what doesn't go together."""

from typing import Any

import pytest

from augsynth.core.errors import ConfigError
from augsynth.filtering.options import FilterModels, FilterRules


@pytest.mark.parametrize(
    ("kind", "detector", "classifier"),
    [
        ("detector", True, False),
        ("classifier", False, True),
        ("both", True, True),
        ("off", False, False),
    ],
)
def test_a_filter_asks_the_models_that_it_is_named_for(kind: Any, detector: bool, classifier: bool) -> None:
    models = FilterModels(filter=kind, classifier="clip" if classifier else None)
    assert (models.asks_detector, models.asks_classifier) == (detector, classifier)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"filter": "classifier"}, "filter is 'classifier', but no classifier is given; name one with --classifier"),
        ({"filter": "both"}, "filter is 'both', but no classifier is given"),
        ({"classifier": "clip"}, "set filter to classifier or both"),
        ({"filter": "strict"}, "filter is 'strict'; choose one of detector, classifier, both, off"),
        ({"score_quantile": 1.5}, r"score_quantile is 1.5; it must lie in \[0, 1\]"),
    ],
)  # fmt: skip
def test_models_that_do_not_go_together_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FilterModels(**values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"min_score": 0.0}, "min_score is 0.0; it must be above 0"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"min_size_ratio": 0.0}, "min_size_ratio"),
        ({"max_size_ratio": 0.5}, "max_size_ratio"),
        ({"extra_objects": "keep"}, "choose one of reject, label"),
        ({"top_k": 0}, "top_k is 0"),
    ],
)
def test_rules_out_of_range_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FilterRules(**values)


def test_second_objects_are_labelled_where_that_is_asked() -> None:
    assert not FilterRules().label_extras
    assert FilterRules(extra_objects="label").label_extras
