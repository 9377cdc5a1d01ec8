"""What a classifier calls the categories: found by name, by the words of the user, or by the map."""

from dataclasses import replace

import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category
from augsynth.filtering.class_labels import Vocabulary, check_top_k, match_labels, texts_of

LABELS = ("tench, Tinca tinca", "Dark Square", "zebra", "bar, bright bar", "crane", "crane", "sorrel")
CATEGORIES = (Category(3, "dark_square"), Category(7, "bright bar"), Category(9, "Zebra"))
VOCABULARY = Vocabulary(CATEGORIES, frozenset({3, 7, 9}))


def test_labels_are_found_by_name_by_the_users_words_or_by_the_map() -> None:
    labels = dict(enumerate(LABELS))
    assert match_labels(labels, VOCABULARY, source="x") == {3: (1,), 7: (3,), 9: (2,)}
    fish = replace(VOCABULARY, categories=(Category(1, "Fisch"),), wanted_ids=frozenset({1}))
    assert match_labels(labels, replace(fish, synonyms={1: ("Tinca_Tinca",)}), source="x") == {1: (0,)}
    assert match_labels(labels, replace(fish, class_map={"Fisch": ("CRANE",)}), source="x") == {1: (4, 5)}
    assert match_labels(labels, replace(fish, wanted_ids=frozenset()), source="x") == {}
    with pytest.raises(ConfigError, match="no label for 1 of the categories: Fisch"):
        match_labels(labels, fish, source="x")
    with pytest.raises(ConfigError, match="no label 'zebr'; did you mean 'zebra'"):
        match_labels(labels, replace(fish, class_map={"Fisch": ("zebr",)}), source="x")


def test_a_label_that_two_places_share_counts_for_both() -> None:
    crane = Vocabulary([Category(4, "Crane")], frozenset({4}))
    assert match_labels(dict(enumerate(LABELS)), crane, source="x") == {4: (4, 5)}


def test_a_model_that_reads_is_told_the_users_words_before_the_name() -> None:
    vocabulary = Vocabulary(
        [Category(1, "tin_can"), Category(2, "lid"), Category(3, "cup")],
        frozenset({1}),
        synonyms={2: ("cover", "cap", "cover"), 3: ("mug",)},
        class_map={"cup": ("tea  cup",)},
    )
    assert texts_of(vocabulary) == {
        1: ("a photo of a tin can",),
        2: ("a photo of a cover", "a photo of a cap"),
        3: ("a photo of a tea cup",),
    }


def test_a_rule_that_every_object_passes_is_refused() -> None:
    check_top_k(2, 3, source="x")
    with pytest.raises(ConfigError, match=r"top_k is 3 and the classifier x tells 3 classes.*lower top_k"):
        check_top_k(3, 3, source="x")
    with pytest.raises(ConfigError, match="choose another classifier"):
        check_top_k(1, 1, source="x")
