"""Citation, changelog, hooks and Makefile agree with the project."""

import re

import yaml

import augsynth
from tests.docs.pages import ROOT


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == augsynth.__version__
    assert citation["license"] == "Apache-2.0"
    [paper] = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Nie", "Wang", "Wang", "He"]
    assert paper["identifiers"][0]["value"] == "arXiv:2408.02891"


def test_the_changelog_begins_with_what_is_unreleased_and_has_this_version():
    titles = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert titles[0] == "Unreleased"
    assert titles[1] == augsynth.__version__


def test_hooks_fetch_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    entries = [hook["entry"].split()[0] for repo in hooks["repos"] for hook in repo["hooks"]]
    assert entries == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]


def test_the_makefile_lists_what_a_developer_does():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):.*## \S", text, re.M)
    assert targets == ["help", "install", "test", "lint", "docs", "run"]
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in contributing or f"make {name}" in contributing for name in targets[1:])
