"""A trained model on disk: half precision in the standard layout, without a trace of the machine."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from augsynth.training.painter.files import FIGURES, read_figures, save_pipeline
from tests.conftest import build_parts


def test_a_model_is_written_in_half_precision_and_replaces_the_former(tmp_path: Path) -> None:
    parts, folder = build_parts("v_prediction"), tmp_path / "model"
    parts["unet"].register_to_config(_name_or_path="/home/someone/model")
    save_pipeline(parts, folder, {"steps": 4, "loss": 0.5})
    assert parts["unet"].dtype == torch.float32, "what is trained stays as it is"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
    assert {name.split("/")[0] for name in files} == {"vae", "unet", "text_encoder"}
    for name in files:
        assert {v.dtype for v in load_file(folder / name).values() if v.is_floating_point()} == {
            torch.float16
        }
    for part in ("vae", "unet"):
        assert "_name_or_path" not in json.loads((folder / part / "config.json").read_text())
    assert json.loads((folder / "text_encoder" / "config.json").read_text())["dtype"] == "float32"
    assert read_figures(folder) == {"steps": 4, "loss": 0.5}
    (folder / "left over").touch()
    save_pipeline(parts, folder, {"steps": 8})
    assert read_figures(folder) == {"steps": 8} and not (folder / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "3"])
def test_without_a_model_there_are_no_figures(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / FIGURES).write_text(text)
    assert read_figures(tmp_path) is None
