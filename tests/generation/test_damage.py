"""Damaged files of a run are refused in one line that names them, or what they vouch for is painted again."""

import hashlib
import json
from pathlib import Path

import pytest

from augsynth.core.errors import AugsynthError, ResumeError
from augsynth.generation.interface import Run, open_run
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.run_state import read_state
from tests.damage import check_damage, damaged
from tests.generation.test_run_folder import NO_PICTURES, three


def go_on(out: Path) -> int:
    """Open a run again; return how many shards are whole."""
    with RunFolder(out, {"model": "one"}, NO_PICTURES) as folder:
        return len(folder.read_shards())


def test_a_damaged_state(tmp_path: Path) -> None:
    three(tmp_path)
    saved = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def use() -> None:
        for path, data in saved.items():
            if path.name != "run.json":
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
        go_on(tmp_path)

    _, refused = check_damage(tmp_path / "run.json", use, named=str(tmp_path))
    assert refused > 50


@pytest.mark.parametrize("name", ["shards/00001.json", "shards/pictures.json"])
def test_a_damaged_record(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)
    three(tmp_path)
    saved = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    text = (tmp_path / name).read_bytes()
    has_digest = name == "shards/00001.json"
    document = json.loads(text.split(b"\n", 1)[1] if has_digest else text)
    found = []
    for number, (what, body) in enumerate(damaged(document)):
        if number % 3:
            continue
        for path, data in saved.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        digest = hashlib.sha256(body.encode()).hexdigest() + "\n" if has_digest else ""
        (tmp_path / name).write_text(digest + body)
        try:
            found.append(go_on(tmp_path))
        except ResumeError as error:
            assert "\n" not in str(error) and ";" in str(error), what
    assert min(found) < 3 and len(found) > (30 if has_digest else 4)


def use_run(out: Path) -> None:
    run = open_run(out)
    str(run), run.attempts, run.decoys, run._repr_png_()
    assert isinstance(run, Run)


def finished(out: Path) -> Path:
    three(out)
    with RunFolder(out, {"model": "one"}, NO_PICTURES) as folder:
        folder.finish()
    summary = {"objects": 1, "images": 1, "attempts": 2, "yield": 0.5}
    (out / "summary.json").write_text(json.dumps(summary))
    (out / "provenance.jsonl").write_text(json.dumps({"attempt": 0, "reason": "accepted"}) + "\n")
    return out


@pytest.mark.parametrize("name", ["summary.json", "provenance.jsonl", "run.json"])
def test_a_damaged_file_of_a_finished_run(tmp_path: Path, name: str) -> None:
    out = finished(tmp_path)
    use_run(out)
    _, refused = check_damage(out / name, lambda: use_run(out), named=str(out))
    assert refused > 5
    (out / name).unlink()
    with pytest.raises(AugsynthError, match=str(out)):
        use_run(out)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = read_state(finished(tmp_path))
    assert state is not None and state.status == "finished"
