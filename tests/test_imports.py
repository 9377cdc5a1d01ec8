"""The layers of the package: imports point downwards only, and the lower half costs next to nothing."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "augsynth"

# Lowest first. A module imports from its own folder and from the rows above its own; a new folder gets its place here.
LAYERS = [
    "core",
    "coco",
    "affinity",
    "placement",
    "bank",
    "inpainting detectors",
    "masking filtering pasting",
    "training sample",
    "generation checking",
    "commands",
    "cli",
    "__main__",
]
ROW = {name: row for row, names in enumerate(LAYERS) for name in names.split()}
LIGHT = ["core", "coco", "affinity", "placement", "bank", "pasting"]
# For one trainer, imported where it is there.
OF_TRAINERS = [
    "pasting/albumentations.py",
    "pasting/torchvision.py",
    "pasting/transform.py",
    "training/mmdet_hooks.py",
]
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "mmdet", "mmcv", "mmengine"}


def part_of(path):
    """The module or package below augsynth that a file belongs to, or None for augsynth itself."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if name == "__init__" else name


def without_what_editors_read(path):
    """The file's syntax tree; of augsynth/__init__.py without what is imported for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    return tree


def imported_parts(path):
    """Every part of augsynth that a file imports, wherever in the file, with the line."""
    package = ["augsynth", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(without_what_editors_read(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            names = [f"{stem}.{alias.name}" for alias in node.names] if stem == "augsynth" else [stem]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "augsynth" and rest and not rest.startswith("__version__"):
                yield rest.split(".")[0], node.lineno


def files():
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def test_every_module_has_its_place_in_the_table():
    parts = {part_of(path) for path in files()} - {None}
    assert parts <= ROW.keys(), f"add {sorted(parts - ROW.keys())} to LAYERS"
    assert len(ROW) == sum(len(names.split()) for names in LAYERS), "a name stands in two rows"


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_downwards_only(path):
    own = part_of(path)
    if own is not None and own not in ROW:
        pytest.fail(f"add {own} to LAYERS")
    for part, line in imported_parts(path):
        assert own is not None, f"{path.name}:{line}: augsynth/__init__.py must import nothing of augsynth"
        assert part in ROW, f"{path.name}:{line} imports augsynth.{part}, which is not in LAYERS"
        assert part == own or ROW[part] < ROW[own], f"{path.name}:{line}: {own} must not import {part}"


def test_the_package_shows_the_steps_of_the_method_at_a_glance():
    names = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(names) <= 20, sorted(names)


def loaded_by(*modules):
    """Top-level names that importing modules in a fresh interpreter adds, without the standard library."""
    code = (
        "import sys; before = set(sys.modules)\n"
        + "".join(f"import {module}\n" for module in modules)
        + "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        + "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(result.stdout.split())


def test_importing_augsynth_costs_numpy_only():
    assert loaded_by("augsynth") == {"augsynth"}
    loaded = loaded_by("augsynth", "augsynth.core.scene", "augsynth.core.errors")
    assert {name for name in loaded if not name.startswith("_")} <= {"augsynth", "numpy"}


def test_no_model_library_loads_before_a_model_is_used():
    light = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for folder in LIGHT
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if path.name != "__init__.py" and path.relative_to(PACKAGE).as_posix() not in OF_TRAINERS
    ]
    loaded = loaded_by(*light, "augsynth.cli", "augsynth.generation.run_folder", "augsynth.generation.config")
    assert not loaded & HEAVY


def third_party_imports(folder):
    """Top-level names outside the standard library and augsynth that files import, each with one of the files."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            else:
                continue
            found.update({name.partition(".")[0]: path for name in names})
    return {n: path for n, path in found.items() if n not in {*sys.stdlib_module_names, "augsynth"}}


def test_a_plain_installation_holds_all_that_the_package_imports():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split(r"[<>=!\[ ;]", line)[0] for line in project["dependencies"]}
    with_extras = {"mmdet", "mmcv", "mmengine"}  # detect/mmdet says what to install where they are missing
    with_extras.add("ray")  # generate/ray says what to install
    with_extras.add("mlflow")  # the tracker is asked for by name, and says what to install
    with_extras |= {"albumentations", "detectron2"}  # imported by the adapters for those who have them
    providers = packages_distributions()
    stray = {
        f"{path.name} imports {name}"
        for name, path in third_party_imports(PACKAGE).items()
        if name not in with_extras
        and not declared & {d.lower().replace("_", "-") for d in providers.get(name, [])}
    }
    assert not stray, "no line of pyproject.toml's dependencies asks for it"
