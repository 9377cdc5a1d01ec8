"""Contact sheets of a run: what is said under the windows."""

from pathlib import Path

import numpy as np
import pytest

from augsynth.core.scene import Reason
from augsynth.generation.contact_sheets import write_contact_sheets
from tests.generation.run_files import painted_attempt


def test_sheets_name_what_was_found_instead_and_what_wasnt_filtered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets = {}
    monkeypatch.setattr(
        "augsynth.generation.contact_sheets.contact_sheet",
        lambda tiles, *, path, **rest: sheets.update({path.name: rest}),
    )
    wrong = painted_attempt(Reason.WRONG_CLASS, tile=1).judged(found_category_id=2, found_score=0.814)
    assert wrong.to_json()["found_category_id"] == 2 and "found_score" not in painted_attempt().to_json()
    shards = [((painted_attempt(tile=0), wrong), [np.zeros((4, 8, 3), np.uint8)] * 2)]
    write_contact_sheets(tmp_path, shards, names={1: "cup", 2: "can"})
    assert sheets["contact_sheet_accepted.png"]["captions"] == ["cup 0.90"]
    assert sheets["contact_sheet_accepted.png"]["accepted"] == [True]
    assert sheets["contact_sheet_rejected.png"]["captions"] == ["cup: wrong_class, can 0.81"]
    write_contact_sheets(tmp_path, shards, names={1: "cup", 2: "can"}, filtered=False)
    assert sheets["contact_sheet_accepted.png"]["captions"] == ["cup, not filtered"]
    assert sheets["contact_sheet_accepted.png"]["accepted"] == [None]
