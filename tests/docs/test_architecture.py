"""ARCHITECTURE.md has a line for every module, and the layers that the import test holds."""

import re

from tests.docs.pages import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def modules():
    package = ROOT / "augsynth"
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.endswith("__init__.py"):
            yield name


def test_it_has_a_line_for_every_module_and_for_no_other():
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", TEXT))
    elsewhere = {name for name in named if (ROOT / name).is_file()}
    there = set(modules())
    assert there <= named, f"add a line for {sorted(there - named)} to ARCHITECTURE.md"
    assert named - elsewhere <= there, f"{sorted(named - elsewhere - there)} is gone; mend ARCHITECTURE.md"


def test_each_module_stands_in_the_row_of_its_folder_once():
    rows = re.findall(r"^\| `([a-z_/]+\.py)` \|", TEXT, re.M)
    assert sorted(rows) == sorted(modules())


def test_the_layers_are_those_of_the_import_test():
    from tests.test_imports import LAYERS

    shown = re.search(r"```text\n(__main__.*?)```", TEXT, re.S)[1].splitlines()
    assert [line.split("  ")[0].strip() for line in shown] == list(reversed(LAYERS))
