"""ARCHITECTURE.md has a line for every module, names no other, and shows the layers that the import test holds."""

import importlib.util
import re

import pytest

from tests.docs.pages import ROOT
from tests.test_imports import LAYERS

TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("module_table", ROOT / "docs" / "module_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def modules():
    package = ROOT / "augsynth"
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.endswith("__init__.py"):
            yield name


def test_the_tables_are_what_the_script_writes(script):
    assert script.page() == TEXT, "run python docs/module_table.py"


def test_every_module_has_its_line_once():
    rows = re.findall(r"^\| `([a-z0-9_/]+\.py)` \| \S.{10,}", TEXT, re.M)
    assert sorted(rows) == sorted(modules())


def test_modules_that_the_text_names_are_there():
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", TEXT))
    gone = {name for name in named - set(modules()) if not (ROOT / name).is_file()}
    assert not gone, "mend ARCHITECTURE.md"


def test_the_layers_are_those_of_the_import_test():
    shown = re.search(r"```text\n(__main__.*?)```", TEXT, re.S)[1].splitlines()
    assert [re.split(r"\s{2,}", line)[0].strip() for line in shown] == list(reversed(LAYERS))
