"""The Python interface: what it costs to import, what it offers, and what a first session with it looks like."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import augsynth
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    return write_sample(root, num_images=40, workers=1), root / "images"


@pytest.fixture(scope="module")
def dataset(sample):
    annotations, images = sample
    return augsynth.read_dataset(str(annotations), images=str(images))


def test_every_name_is_there_for_editors_and_at_run_time():
    tree = ast.parse(Path(augsynth.__file__).read_text(encoding="utf-8"))
    [guard] = [node for node in tree.body if isinstance(node, ast.If)]
    for_editors = {alias.asname or alias.name: node.module for node in guard.body for alias in node.names}
    assert {*for_editors, "__version__"} == set(augsynth.__all__) <= set(dir(augsynth))
    for name, module in for_editors.items():
        assert getattr(augsynth, name).__module__ == module
    with pytest.raises(AttributeError, match="no attribute 'generte'"):
        _ = augsynth.generte


def test_importing_costs_nothing_and_a_name_costs_its_module():
    code = (
        "import sys, augsynth; bare = set(sys.modules); augsynth.read_dataset; "
        "print([m for m in ('numpy', 'torch') if m in bare], [m for m in ('numpy', 'torch') if m in sys.modules])"
    )
    root = Path(augsynth.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[] ['numpy']"


def test_an_inpainter_is_loaded_by_name_or_path():
    from augsynth.inpainting.checkpoints import EMBEDDED

    by_name = augsynth.load_inpainter("embedded", steps=2)
    by_path = augsynth.load_inpainter(EMBEDDED, steps=2)
    assert by_name.size == by_path.size and by_name.name == "embedded"
