"""Documents with a record a line, and lines that several processes write into one file."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from augsynth.coco import json_lines
from augsynth.coco.json_lines import Lines, Written, record_encoder, write_json
from augsynth.core.errors import OutputError


def copied(lines: Lines, path: Path) -> bytes:
    with path.open("wb") as file:
        lines.copy_to(file)
    return path.read_bytes()


def test_lines_are_joined_and_come_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_AT_ONCE", 3)
    lines = Lines(tmp_path / "new")
    assert not lines and copied(lines, tmp_path / "out") == b""
    lines.add([])
    assert not lines
    lines.add([b"1", b"2"])
    lines.add([b"3"])
    assert lines and copied(lines, tmp_path / "out") == b"1,\n2,\n3"
    assert copied(lines, tmp_path / "out") == b"1,\n2,\n3"
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no processes are forked here"
)
def test_a_forked_process_adds_to_the_same_lines(tmp_path: Path) -> None:
    lines = Lines(tmp_path, between=b"\n")
    lines.add([b"a"])
    child = multiprocessing.get_context("fork").Process(target=lambda: lines.add([b"b", b"c"]))
    child.start()
    child.join(60)
    lines.add([b"d"])
    assert child.exitcode == 0 and copied(lines, tmp_path / "out") == b"a\nb\nc\nd"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    lines._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(OutputError, match="No space left"):
        lines.add([b"a"])
    lines._file.close()


def test_numbers_of_numpy_are_numbers_and_keys_can_be_sorted() -> None:
    record = {"b": np.float32(0.5), "a": np.arange(2)}
    assert record_encoder()(record) == b'{"b":0.5,"a":[0,1]}'
    assert record_encoder(order="sorted")(record) == b'{"a":[0,1],"b":0.5}'
    with pytest.raises(TypeError, match="object can't be written as JSON"):
        record_encoder()(object())


def test_a_document_has_a_record_a_line(tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    lines.add([b'{"id":2}'])
    document = {"info": {}, "none": [], "some": [{"id": 1}], "more": Written([{"id": 1}], lines)}
    write_json(tmp_path / "a.json", {**document, "alone": Written([], lines)})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text)["more"] == [{"id": 1}, {"id": 2}] and json.loads(text)["alone"] == [{"id": 2}]
    assert '"info": {},\n"none": [],\n"some": [\n{"id":1}\n],\n"more": [\n{"id":1},\n{"id":2}\n],' in text
