"""What is installed is whole: a wheel of the tree, in a fresh environment, in a folder outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import augsynth

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (
    "*.egg-info",
    "__pycache__",
    "build",
    "dist",
    "runs",
    "data",
    "site",
    ".git",
    ".venv*",
    ".*_cache",
)
NOT_IN_SDIST = {".gitattributes", ".gitignore"}
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, f'build_{sys.argv[1]}')(sys.argv[2])"


def run(*command, cwd, **environment):
    """Run a command and return what it prints; what goes wrong is shown."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AUGSYNTH_DATA"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A copy of the tree as it is in the repository, with its wheel and its sdist."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "tree", ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    tree = {
        path.relative_to(folder / "tree").as_posix()
        for path in (folder / "tree").rglob("*")
        if path.is_file()
    }
    for kind in ("sdist", "wheel"):
        run(sys.executable, "-c", BUILD, kind, folder / kind, cwd=folder / "tree")
    [wheel], [sdist] = (folder / "wheel").iterdir(), (folder / "sdist").glob("*.tar.gz")
    return tree, wheel, sdist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The Python of a fresh environment with the wheel; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", built[1], cwd=folder)
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    there = run(python, "-c", "import augsynth; print(augsynth.__file__)", cwd=folder)
    assert Path(there.strip()).is_relative_to(folder / "venv")
    return python


def test_the_wheel_holds_the_package_and_nothing_beside_it(built):
    tree, wheel, _ = built
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
        described = archive.read(metadata).decode()
    assert names == {name for name in tree if name.startswith("augsynth/")}
    assert f"Version: {augsynth.__version__}\n" in described
    for field in (
        "Keywords: ",
        "Classifier: Typing :: Typed",
        "Project-URL: ",
        "License-Expression: Apache-2.0",
    ):
        assert field in described


def test_the_sdist_holds_the_whole_tree(built):
    tree, _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    kept = {name for name in tree if not name.startswith(".hypothesis/")}
    assert kept - names <= NOT_IN_SDIST


def test_an_installed_package_runs_anywhere(installed, tmp_path):
    command = installed.with_name("augsynth")
    run(command, "sample", "--out", "sample", "--num-images", 24, "--workers", 1, cwd=tmp_path)
    data = ("--annotations", "sample/annotations/instances.json", "--images", "sample/images")
    models = ("--model", "embedded", "--detector", "embedded", "--steps", 4, "--max-attempts", 40)
    run(command, "generate", *data, *models, "--n", 2, "--out", "runs/first", cwd=tmp_path)
    looked_at = "import augsynth; print(augsynth.open_run('runs/first'))"
    assert "attempts, yield" in run(installed, "-c", looked_at, cwd=tmp_path)


def test_every_preset_is_found_by_name(built, installed, tmp_path):
    wanted = sorted(Path(name).stem for name in built[0] if name.startswith("augsynth/generation/presets/"))
    code = (
        "from augsynth.generation.config import preset_names, read_config; "
        "[read_config(name) for name in preset_names()]; print(*sorted(preset_names()))"
    )
    assert wanted and run(installed, "-c", code, cwd=tmp_path).split() == wanted


def test_a_users_script_passes_strict_type_checks(installed, tmp_path):
    """The one that is right passes; in the other what is wrong is told. What lies behind torch isn't looked into."""
    (tmp_path / "right.py").write_text(
        "import augsynth\n"
        'run = augsynth.generate("train.json", "images", out="runs/x", n=2, steps=4)\n'
        "names: list[str] = [category.name for category in run.dataset.categories]\n",
        encoding="utf-8",
    )
    wrong = "import augsynth\naugsynth.generte(out=3)\naugsynth.generate(out=3)\n"
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    skipped = ",".join(
        f"{name}.*" for name in ("torch", "torchvision", "diffusers", "transformers", "matplotlib")
    )
    (tmp_path / "mypy.ini").write_text(f"[mypy-{skipped}]\nfollow_imports = skip\n", encoding="utf-8")
    done = subprocess.run(
        [installed, "-m", "mypy", "--strict", "right.py", "wrong.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = sorted(line for line in done.stdout.splitlines() if ": error: " in line)
    assert len(found) == 2, done.stdout + done.stderr
    assert found[0].startswith("wrong.py:2:") and 'Module has no attribute "generte"' in found[0]
    assert found[1].startswith("wrong.py:3:") and 'incompatible type "int"; expected "str | Path"' in found[1]


def with_own_pipelines(folder):
    """A user's project with a folder of transforms called as ours was."""
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "__init__.py").write_text("OWN = True\n", encoding="utf-8")
    return folder


def test_a_project_with_pipelines_of_its_own_keeps_them(installed, tmp_path):
    code = (
        "import pipelines, importlib.util as found; assert pipelines.OWN; "
        "print(found.find_spec('augsynth.pasting.transform').origin)"
    )
    printed = run(installed, "-c", code, cwd=with_own_pipelines(tmp_path))
    assert Path(printed.strip()).is_relative_to(installed.parents[1])


@pytest.mark.mmdet
def test_the_transform_is_imported_beside_pipelines_of_the_users_own(installed, tmp_path):
    code = (
        "import pipelines; from mmengine.config import Config; from mmcv.transforms import TRANSFORMS; "
        "Config.fromfile('config.py'); print(TRANSFORMS.get('AffinityPaste').__module__, pipelines.OWN)"
    )
    imports = "custom_imports = dict(imports=['augsynth.pasting.transform'], allow_failed_imports=False)\n"
    (tmp_path / "config.py").write_text(imports, encoding="utf-8")
    printed = run(installed, "-c", code, cwd=with_own_pipelines(tmp_path))
    assert printed.split() == ["augsynth.pasting.transform", "True"]
