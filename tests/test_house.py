"""Rules of the house that a machine can hold: short functions, few arguments, a test for every module."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "augsynth"
MAX_LINES, MAX_ARGUMENTS = 60, 12
# What a command line or a configuration of MMDetection spells out one by one.
SPELLED_OUT = {"commands", "pasting/transform.py"}
TESTED_BY_NAME = ["affinity/loglinear.py", "affinity/cooccurrence.py", "generation/export_bank.py"]


def modules():
    """Every module of the package, as a path below it."""
    found = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    return [path for path in found if path.name not in ("__init__.py", "__main__.py")]


def functions(path):
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function):
    """Lines of a function's body, without its signature and docstring."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and len(body) > 1:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1


def num_arguments(function):
    spec = function.args
    named = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


@pytest.mark.parametrize("path", modules(), ids=str)
def test_functions_are_short_and_take_few_arguments(path):
    spelled_out = not SPELLED_OUT.isdisjoint((path.parts[0], path.as_posix()))
    for function in functions(path):
        where = f"{path}:{function.lineno} {function.name}"
        assert body_lines(function) <= MAX_LINES, f"{where} has {body_lines(function)} lines"
        assert spelled_out or num_arguments(function) <= MAX_ARGUMENTS, (
            f"{where} has {num_arguments(function)}"
        )


@pytest.mark.parametrize("path", modules(), ids=str)
def test_calls_pass_few_arguments(path):
    """Of functions: a dataclass may have as many fields as there are options."""
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and path.parts[0] != "commands":
            name = ast.unparse(node.func).rpartition(".")[2]
            number = len(node.args) + len(node.keywords)
            assert name[:1].isupper() or name == "cls" or number <= MAX_ARGUMENTS, (
                f"{path}:{node.lineno} {name}"
            )


def find_tests(path):
    """Test files of a module's own name, or named for its folder, wherever tests of that folder stand."""
    names = {f"test_{path.stem}.py", *(f"test_{folder}.py" for folder in path.parts[:-1])}
    folder = ROOT / "tests" / path.parts[0] if len(path.parts) > 1 else ROOT / "tests"
    return [found for found in folder.rglob("test_*.py") if found.name in names]


@pytest.mark.parametrize("path", [p for p in modules() if len(p.parts) > 1], ids=str)
def test_every_module_has_a_test_of_its_own_name_or_of_its_folders(path):
    assert find_tests(path), f"add tests/{path.parts[0]}/test_{path.stem}.py or test_{path.parts[-2]}.py"


@pytest.mark.parametrize("name", TESTED_BY_NAME)
def test_modules_that_only_others_reached_are_tested_directly(name):
    path = Path(name)
    folder, stem = path.parts[0], path.stem
    imported = re.compile(rf"from augsynth\.{folder}(\.{stem} import| import .*\b{stem}\b)")
    files = (ROOT / "tests" / folder).rglob(f"test_{stem}.py")
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert any(imported.search(text) for text in texts)
