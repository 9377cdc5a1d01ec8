"""Contact sheets of a run that goes on are written again now and then; in the end the dataset is there."""

import json
from pathlib import Path

import pytest
from PIL import Image

from augsynth.generation import publishing
from augsynth.generation.config import GenerateConfig
from augsynth.generation.publishing import RunSheets
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.source_pictures import SourcePictures
from augsynth.generation.statistics import Tally
from tests.generation.run_files import painted_attempt
from tests.generation.test_finalize_small import write_run


def test_sheets_are_written_again_after_a_while_until_they_show_all_that_they_will(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], list[tuple[float, tuple[str, ...]]]()
    monkeypatch.setattr(publishing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        publishing, "write_contact_sheets", lambda *_, sheets, **__: written.append((now[0], tuple(sheets)))
    )
    folder = RunFolder(tmp_path, {}, SourcePictures(tmp_path, {}))
    sheets = RunSheets(folder, Tally(1, names={1: "cup"}), GenerateConfig())
    for now[0] in (30.0, 61.0, 100.0, 122.0):
        sheets.update([])
    both = ("contact_sheet_accepted.png", "contact_sheet_rejected.png")
    assert written == [(61.0, both), (122.0, both)]
    now[0] = 300.0
    sheets.update([painted_attempt()] * 51)  # type: ignore[list-item]
    assert len(written) == 2, "the first fifty shards fill them"
    sheets.write([], only=both[1:])
    assert written[2:] == [(300.0, both[1:])]


def test_all_that_the_records_tell_is_written(tmp_path: Path) -> None:
    run, dataset = write_run(tmp_path)
    document = json.loads((run / "annotations" / "instances_augmented.json").read_text())
    real = sum(map(len, dataset.scenes))
    assert len(document["annotations"]) == 2 * real + 6, (
        "each image as it was, and once more with three objects"
    )
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["objects"], summary["wanted"]) == (6, 6)
    assert summary["repairs"].keys() == dataset.repairs.keys()
    with Image.open(run / "contact_sheet_accepted.png") as sheet:
        assert min(sheet.size) > 80, "windows of 40 px before and after"
    assert not (run / "contact_sheet_rejected.png").exists() and not (run / "bank").exists()
