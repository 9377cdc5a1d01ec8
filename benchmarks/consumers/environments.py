"""Environments of libraries, made by uv in a folder, and a reader run in one of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.consumers.comparison import has_masks
from benchmarks.consumers.libraries import Library

ROOT = Path(__file__).resolve().parents[2]
INSTALL_LIMIT_S, READ_LIMIT_S = 1800, 1200
_QUIET = {"FIFTYONE_DO_NOT_TRACK": "true", "NO_ALBUMENTATIONS_UPDATE": "1", "YOLO_OFFLINE": "true"}
# Some libraries ask for the OpenCV with windows beside the one without; they overwrite each other.
OVERRIDES = "".join(
    f"{name} ; sys_platform == 'never'\n" for name in ("opencv-python", "opencv-contrib-python")
)


class NotRunError(Exception):
    """A library couldn't be installed, or couldn't read the file; says why in one line."""


def python_of(library: Library, folder: Path) -> Path:
    """Return the interpreter of a library's environment, made unless it is there.

    Raises:
        NotRunError: uv isn't there, or can't install it.
    """
    if not library.packages:
        return Path(sys.executable)
    environment = folder / library.reader
    python, marker = environment / "bin" / "python", environment / "packages.txt"
    wanted = "\n".join(library.packages)
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return python
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.prefix) / "uv" / "bin"))
    if uv is None:
        raise NotRunError("uv isn't on the path")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "overrides.txt").write_text(OVERRIDES, encoding="utf-8")
    _call([uv, "venv", "-q", "--clear", "--no-config", "--python", sys.executable, environment], folder)
    install = [uv, "pip", "install", "-q", "--no-config", "--overrides", folder / "overrides.txt"]
    _call([*install, "--python", environment, *library.packages], folder)
    marker.write_text(wanted, encoding="utf-8")
    return python


def version_in(python: Path, distribution: str) -> str:
    """Return the version of a package in an environment."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def read_with(library: Library, python: Path, annotations: Path, images: Path) -> dict[str, Any]:
    """Return what a library holds of a file: `images` with objects, and `figures`.

    Raises:
        NotRunError: It can't read the file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "held.json"
        words = ["-m", "benchmarks.consumers.read", library.reader, annotations, images, out]
        if has_masks(annotations):
            words.append("--masks")
        # Its settings and caches go to the scratch folder, and it asks no server anything.
        settings = {"PYTHONPATH": str(ROOT), "HOME": scratch, **_QUIET}
        _call([python, *words], Path(scratch), limit_s=READ_LIMIT_S, **settings)
        held: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return held


def use_tool(python: Path, given: dict[str, Any]) -> Any:
    """Return what a tool's `read` or `write` gives, run in its environment (`benchmarks.consumers.use_tool`).

    Raises:
        NotRunError: It fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arguments, out = Path(scratch) / "given.json", Path(scratch) / "out.json"
        arguments.write_text(json.dumps(given), encoding="utf-8")
        settings = {"PYTHONPATH": str(ROOT), "HOME": scratch, "HF_HUB_OFFLINE": "1", **_QUIET}
        words = [python, "-m", "benchmarks.consumers.use_tool", arguments, out]
        _call(words, Path(scratch), limit_s=READ_LIMIT_S, **settings)
        return json.loads(out.read_text(encoding="utf-8"))


def _call(command: list[Any], folder: Path, *, limit_s: float = INSTALL_LIMIT_S, **settings: str) -> None:
    """Run a command in a folder, with settings in its environment; its output is shown only where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        raise NotRunError(f"took more than {limit_s:.0f} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise NotRunError(lines[-1] if lines else f"exit code {done.returncode}")
