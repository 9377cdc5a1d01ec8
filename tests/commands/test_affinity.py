"""`augsynth build-affinity` from the names of categories."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from augsynth import cli
from augsynth.affinity.model import load_affinity_file
from tests.affinity.tiny_data import NAMES, VECTORS


@pytest.fixture
def run(monkeypatch, capsys, tmp_path: Path):
    """Run `augsynth build-affinity …` on a small file; return exit code, output and error lines."""
    monkeypatch.chdir(tmp_path)
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(12)]
    pairs = [(i, c) for i in range(12) for c in ((1, 2) if i % 2 else (3, 4))]
    annotations = [
        {"id": k + 1, "image_id": i, "category_id": c, "bbox": [3, 4, 20, 20], "area": 400, "iscrowd": 0}
        for k, (i, c) in enumerate(pairs)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "d.json").write_text(json.dumps(document))
    np.save(tmp_path / "e.npy", VECTORS)

    def call(*words: str):
        line = ["augsynth", "build-affinity", "--annotations", "d.json", "--out", "a.json", *words]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err.strip().splitlines()

    return call


def test_build_affinity_from_names(run, tmp_path: Path) -> None:
    code, out, _ = run("--source", "clip", "--embeddings", "e.npy")
    assert code == 0
    assert "cosines of the names' embeddings, e.npy" in out
    assert "shoe + hat" in out.split("least alike")[0]
    assert load_affinity_file(tmp_path / "a.json")[0].source == "clip"
    code, out, _ = run("--source", "blend", "--embeddings", "e.npy", "--blend-weight", "0.25")
    assert code == 0
    assert "0.75 loglinear" in out
    assert "0.25 clip" in out
    code, out, _ = run("--source", "clip", "--clip-model", "embedded")
    assert code == 0
    assert load_affinity_file(tmp_path / "a.json")[0].embeddings == "embedded"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--source", "glove"], "glove"),
        (["--source", "clip"], "--clip-model"),
        (["--source", "blend", "--embeddings", "e.npy", "--clip-model", "embedded"], "not both"),
        (["--embeddings", "e.npy"], "--source"),
        (["--clip-model", "embedded"], "--source"),
        (["--source", "clip", "--embeddings", "e.npy", "--blend-weight", "0.5"], "blend"),
        (["--source", "blend", "--embeddings", "e.npy", "--blend-weight", "2"], "[0, 1]"),
        (["--source", "clip", "--embeddings", "e.npy", "--measure", "npmi"], "measure"),
        (["--source", "clip", "--embeddings", "gone.npy"], "gone.npy"),
        (["--source", "clip", "--embeddings", "e.npy", "--clip-revision", "main"], "--clip-model"),
        (["--source", "clip", "--clip-model", "gone"], "gone"),
    ],
)
def test_wrong_sources_are_one_line(run, tmp_path: Path, words: list[str], says: str) -> None:
    code, _, told = run(*words)
    lines = [line for line in told if line.startswith("augsynth:")]
    assert code == 2
    assert len(lines) == 1
    assert says in lines[0]
    assert not (tmp_path / "a.json").exists()
