"""One declaration of an option is its default, its check, its key and its flag."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from augsynth.cli import COMMANDS
from augsynth.core.errors import ConfigError
from augsynth.core.options import (
    REQUIRED,
    build,
    change,
    check_options,
    internal,
    option,
    options_of,
    plain,
    section,
)
from augsynth.generation.config import GenerateConfig, find_preset, plain_config, preset_names, read_config


@dataclass(frozen=True)
class Oven:
    heat: float = option(180.0, "How hot.", low=50, high=250)
    mode: Literal["fan", "grill", "off"] = option("fan", "What heats.")
    minutes: int | None = option(None, "How long.", low=1, unset="until it is done")
    share: float = option(0.5, "Of something.", above=0, high=1)
    least: int = option(3, "At least.", low=2)
    secret: int = internal(7, low=0, high=9)

    def __post_init__(self):
        check_options(self)


@dataclass(frozen=True)
class Meal:
    name: str = option(REQUIRED, "What it is.")
    book: Path | None = option(None, "Where the recipe stands.")
    spices: tuple[str, ...] = option((), "What goes in.", unset="none")
    title: str | tuple[str, ...] = option("dish", "One or several.")
    note: str | None = option(None, "Anything.")
    cold: bool = option(False, "Served cold.")
    limits: Mapping[str, int] = option({}, "Most of each.", flag=False)
    labels: Mapping[str, tuple[str, ...]] = option({}, "Words of each.", flag=False)
    oven: Oven = field(default_factory=Oven, metadata=section("Oven"))


def meal(**values):
    return build(Meal, {"name": "soup", **values}, source="meal.yaml")


def test_sections_are_flat_outside():
    found = meal(heat=200, mode="grill", name="pie")
    assert (found.name, found.oven.heat, found.oven.mode) == ("pie", 200.0, "grill")
    assert isinstance(found.oven.heat, float)
    assert plain(found)["heat"] == 200.0 and "oven" not in plain(found) and "secret" not in plain(found)
    assert build(Meal, json.loads(json.dumps(plain(found))), source="again") == found


def test_values_take_the_types_of_their_options(tmp_path):
    found = meal(
        book=str(tmp_path), spices=["salt"], title=["a", "b"], mode=False, labels={"x": "y", "z": ["w"]}
    )
    assert found.book == tmp_path and found.spices == ("salt",) and found.title == ("a", "b")
    assert found.oven.mode == "off"  # YAML's bare off
    assert found.labels == {"x": ("y",), "z": ("w",)}
    assert meal(note=tmp_path).note == str(tmp_path)
    assert meal(minutes=None).oven.minutes is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"heta": 3}, "meal.yaml: unknown key 'heta'; did you mean heat?"),
        ({"heat": 300}, "heat is 300.0; it must lie in [50, 250]"),
        ({"heat": float("nan")}, "meal.yaml: heat is nan; it must be a finite number of at most 64 bits"),
        ({"heat": "hot"}, "meal.yaml: heat is 'hot'; it must be a number"),
        ({"heat": True}, "meal.yaml: heat is True; it must be a number"),
        ({"heat": None}, "meal.yaml: heat is None; it must be a number"),
        ({"mode": "steam"}, "mode is 'steam'; choose one of fan, grill, off"),
        ({"mode": 1}, "meal.yaml: mode is 1; it must be a text"),
        ({"minutes": 0}, "minutes is 0; it must be at least 1"),
        ({"minutes": 2.5}, "meal.yaml: minutes is 2.5; it must be a whole number"),
        ({"share": 0}, "share is 0.0; it must be above 0 and at most 1"),
        ({"least": 1}, "least is 1; it must be at least 2"),
        ({"note": ""}, "meal.yaml: note is empty; give a text, or leave it out"),
        ({"cold": "yes"}, "meal.yaml: cold is 'yes'; it must be true or false"),
        ({"spices": "salt"}, "meal.yaml: spices is 'salt'; it must be a list of names"),
        ({"title": 3}, "meal.yaml: title is 3; it must be a text or a list of texts"),
        ({"book": 3}, "meal.yaml: book is 3; it must be a path"),
        ({"limits": {"salt": -1}}, "meal.yaml: limits is {'salt': -1}; it must map category names to counts"),
        ({"labels": {"x": []}}, "meal.yaml: labels is {'x': []}; it must map category names to a label or a list"),
        ({"secret": 3}, "meal.yaml: unknown key 'secret'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(values, says):
    with pytest.raises(ConfigError) as caught:
        meal(**values)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_what_must_be_given_is_named():
    with pytest.raises(ConfigError, match="name is missing; give --name"):
        build(Meal, {}, source="meal.yaml")


def test_an_internal_field_is_checked_but_no_option():
    with pytest.raises(ConfigError, match=r"secret is 10; it must lie in \[0, 9\]"):
        Oven(secret=10)
    assert "secret" not in {entry.name for entry in options_of(Meal)}


def test_a_change_keeps_all_else():
    found = change(Meal("soup", oven=Oven(secret=1)), {"heat": 100, "cold": True})
    assert (found.name, found.cold, found.oven) == ("soup", True, Oven(heat=100.0, secret=1))
    with pytest.raises(ConfigError, match="did you mean heat"):
        change(found, {"heet": 1})


def test_an_option_tells_all_that_help_and_docs_show():
    entries = {entry.name: entry for entry in options_of(Meal)}
    heat, minutes, limits, name = (entries[key] for key in ("heat", "minutes", "limits", "name"))
    assert (heat.flag, heat.section, heat.type_text, heat.default_text) == ("--heat", "Oven", "number", "180")
    assert (minutes.default_text, minutes.type_text) == ("until it is done", "integer")
    assert not limits.has_flag and limits.type_text == "mapping"
    assert name.required and name.default_text == "required"
    assert entries["mode"].choices == ("fan", "grill", "off")
    assert entries["cold"].default_text == "off" and entries["spices"].default_text == "none"
    assert entries["book"].type_text == "path" and entries["title"].type_text == "text or list of texts"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_names_are_unique_across_the_sections_of_a_command(command):
    names = [entry.name for entry in options_of(command.options)]
    assert len(names) == len(set(names))
    assert not {"config", "quiet", "verbose", "json", "help"} & set(names)
    assert all(len(entry.help) > 5 and entry.help.endswith(".") for entry in options_of(command.options))


def test_defaults_pass_their_own_checks():
    config = GenerateConfig()
    assert GenerateConfig.of(**plain_config(config)) == config
    assert config.but(steps=3).painting.steps == 3


@pytest.mark.parametrize(
    "values",
    [{"guidance": 0}, {"tau": 0}, {"context": 0}, {"min_score": 0}, {"max_attempts": 0}, {"window_size": 0}],
)
def test_zero_no_longer_stands_for_choose(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        GenerateConfig.of(**values)
    assert plain_config(GenerateConfig.of(**dict.fromkeys(values)))[next(iter(values))] is None


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_found_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read_config(name, n=3)
    assert found.run.n == 3
    assert found == read_config(find_preset(name), n=3)


def test_a_path_wins_nothing_over_a_preset_and_an_unknown_name_lists_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("steps: 7")
    assert read_config("mine.yaml").painting.steps == 7
    with pytest.raises(
        ConfigError, match=r"'sd51': no such file and no preset; the presets are embedded.*sd15"
    ):
        read_config("sd51")
