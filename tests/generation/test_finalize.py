"""A finished run without objects that were struck out: what goes, what stays byte for byte, what comes anew."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

import augsynth
from augsynth.bank.reader import Bank
from augsynth.core.errors import AugsynthError, ConfigError, ResumeError
from augsynth.generation.config import GenerateConfig
from augsynth.generation.finalize import finalize
from augsynth.generation.run import generate
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.shard_files import read_kept
from augsynth.generation.undoing import painted_pixels, with_dependants
from tests.generation.run_files import RANDOM, files_of, ignore, provenance

TOLD_ANEW = {
    *("annotations/instances_augmented.json", "synthetic/instances.json", "provenance.jsonl", "decoys.jsonl"),
    *("summary.json", "run.json", "contact_sheet_accepted.png"),
}


@pytest.fixture(scope="module")
def asked(config: GenerateConfig) -> GenerateConfig:
    """Everything is accepted, two objects an image, a decoy for every other one."""
    return config.but(n=13, steps=2, objects_per_image=2, decoys=0.5, **RANDOM)


@pytest.fixture(scope="module")
def full(asked: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "out"
    generate(asked.but(out=str(out)), progress=ignore)
    return out


def kept_lines(out: Path) -> dict[int, dict[str, Any]]:
    return {int(line["attempt"]): line for line in provenance(out) if "annotation_id" in line}


def pixels_of(out: Path, line: dict[str, Any]) -> np.ndarray:
    return np.asarray(PilImage.open(out / "images" / line["file_name"]))


def painted_over(out: Path) -> dict[int, int]:
    """For each object that was painted over an earlier one, that one: the numbers in the run."""
    found, first = {}, 0
    for shard in (kept.record for kept in read_kept(out)):
        for number in range(len(shard.attempts)):
            for other, cause in with_dependants(shard, {number}).items():
                if other != cause:
                    found[first + other] = first + cause
        first += len(shard.attempts)
    return found


def pairs_of(out: Path) -> list[list[int]]:
    """The objects of images with two."""
    images: dict[str, list[int]] = {}
    for number, line in kept_lines(out).items():
        images.setdefault(line["file_name"], []).append(number)
    return [numbers for numbers in images.values() if len(numbers) == 2]


def two_of(out: Path) -> list[int]:
    """The first object of one image and the second of another, where the second wasn't painted over the first."""
    over = painted_over(out)
    apart = [pair for pair in pairs_of(out) if not over.keys() & set(pair)]
    assert len(apart) >= 2, "the seed gives images with two objects apart"
    return [apart[0][0], apart[1][1]]


def source_of(source: Path, line: dict[str, Any]) -> np.ndarray:
    document = json.loads((source / "annotations" / "instances.json").read_text())
    [name] = [i["file_name"] for i in document["images"] if i["id"] == line["source_image_id"]]
    return np.asarray(PilImage.open(source / "images" / name))


def test_what_is_struck_out_goes_and_all_else_stays(full: Path, source: Path, tmp_path: Path) -> None:
    lines = kept_lines(full)
    pair = next(pair for pair in pairs_of(full) if not set(pair) & set(two_of(full)))
    struck = [*two_of(full), *pair]
    before = files_of(full)
    run = augsynth.finalize(full, struck, out=tmp_path / "new")
    assert files_of(full) == before, "the run stays as it is"
    after = files_of(tmp_path / "new")
    edited = {f"images/{lines[n]['file_name']}" for n in struck}
    gone = {f"images/{lines[n]['file_name']}" for n in pair}
    assert {name for name in before if name not in after} == gone
    changed = {name for name in after if after[name] != before.get(name)}
    changed -= {name for name in changed if name.startswith(("shards/", "bank/"))}
    assert changed - TOLD_ANEW == edited - gone
    check_pixels(full, tmp_path / "new", source, struck, gone)
    check_documents(full, tmp_path / "new", struck)
    assert run.summary["objects"] == len(lines) - 4 and run.summary["vetoed"] == 4
    assert len(Bank.open(tmp_path / "new" / "bank")) == len(lines) - 4


def check_pixels(full: Path, new: Path, source: Path, struck: list[int], gone: set[str]) -> None:
    lines, records = kept_lines(full), [kept.record for kept in read_kept(full)]
    attempts = [attempt for record in records for attempt in record.attempts]
    for file_name in {lines[n]["file_name"] for n in struck} - {
        name.removeprefix("images/") for name in gone
    }:
        [number] = [n for n in struck if lines[n]["file_name"] == file_name]
        was, now = pixels_of(full, lines[number]), pixels_of(new, lines[number])
        real = source_of(source, lines[number])
        x1, y1, x2, y2 = painted_pixels(attempts[number])
        assert (now[y1:y2, x1:x2] == real[y1:y2, x1:x2]).all() and (
            was[y1:y2, x1:x2] != real[y1:y2, x1:x2]
        ).any()
        rest = np.ones(now.shape[:2], bool)
        rest[y1:y2, x1:x2] = False
        assert (now[rest] == was[rest]).all()


def check_documents(full: Path, new: Path, struck: list[int]) -> None:
    lines = kept_lines(full)
    for name in ("annotations/instances_augmented.json", "synthetic/instances.json"):
        old, now = (json.loads((out / name).read_text()) for out in (full, new))
        assert all(record in old["annotations"] for record in now["annotations"])
        lost = {a["id"] for a in old["annotations"]} - {a["id"] for a in now["annotations"]}
        synthetic = {a["id"] for a in old["annotations"] if a.get("attributes", {}).get("synthetic")}
        assert lost & synthetic == {lines[n]["annotation_id"] for n in struck}
        empty = {i["id"] for i in old["images"]} - {i["id"] for i in now["images"]}
        assert {a["image_id"] for a in old["annotations"] if a["id"] in lost - synthetic} <= empty
    for old, now in zip(provenance(full), provenance(new), strict=True):
        if old["attempt"] in struck:
            assert now == {
                k: v for k, v in old.items() if k not in ("image_id", "file_name", "annotation_id")
            } | {"vetoed": True}
        else:
            assert now == old


def test_a_copy_that_was_stopped_goes_on_and_one_of_a_copy_strikes_more(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_of(full)
    commit: Callable[..., None] = RunFolder.commit

    def dying(self: RunFolder, *given: object, **named: object) -> None:
        commit(self, *given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        finalize(full, [first, second], out=tmp_path / "cut", replace=False, progress=ignore)
    monkeypatch.setattr(RunFolder, "commit", commit)
    with pytest.raises(ResumeError, match="vetoed = "):
        finalize(full, [first], out=tmp_path / "cut", replace=False, progress=ignore)
    finalize(full, [first, second], out=tmp_path / "cut", replace=False, progress=ignore)
    finalize(full, [first], out=tmp_path / "one", replace=False, progress=ignore)
    finalize(tmp_path / "one", [second], out=tmp_path / "two", replace=False, progress=ignore)
    whole, twice = files_of(tmp_path / "cut"), files_of(tmp_path / "two")
    assert whole.keys() == twice.keys()
    assert {name for name in whole if whole[name] != twice[name]} <= {"run.json"}


def test_replacements_bring_the_number_back(full: Path, tmp_path: Path) -> None:
    struck, lines = two_of(full), kept_lines(full)
    sheet = shutil.copytree(full, tmp_path / "run") / "contact_sheet_rejected.png"
    shutil.copy(full / "contact_sheet_accepted.png", sheet)
    run = augsynth.finalize(tmp_path / "run", struck, out=tmp_path / "new", replace=True)
    assert (tmp_path / "new" / sheet.name).read_bytes() == sheet.read_bytes()
    assert run.summary["objects"] == len(lines) and run.summary["vetoed"] == 2
    anew = kept_lines(tmp_path / "new")
    assert not anew.keys() & set(struck) and len(anew) == len(lines)
    first_new = len(provenance(full))
    assert all(anew[n] == lines[n] for n in anew if n < first_new)
    assert sum(n >= first_new for n in anew) == 2
    before, after = files_of(full), files_of(tmp_path / "new")
    for name in (
        f"images/{lines[n]['file_name']}"
        for n in lines
        if lines[n]["file_name"] not in {lines[s]["file_name"] for s in struck}
    ):
        assert before[name] == after[name]
    finalize(full, struck, out=tmp_path / "less", replace=False, progress=ignore)
    less = files_of(tmp_path / "less")
    assert all(after[name] == less[name] for name in (f"images/{lines[n]['file_name']}" for n in struck))


def test_a_list_from_a_file(full: Path, tmp_path: Path) -> None:
    [first, *_] = two_of(full)
    path = tmp_path / "veto.json"
    path.write_text(json.dumps({"augsynth_veto": 1, "attempts": [first, 999]}))
    with pytest.raises(ConfigError, match="attempt 999 isn't in the run") as error:
        augsynth.finalize(full, path, out=tmp_path / "new")
    assert str(path) in str(error.value) and not (tmp_path / "new").exists()
    path.write_text(json.dumps({"augsynth_veto": 1, "attempts": [first]}))
    assert augsynth.finalize(full, path, out=tmp_path / "new").summary["vetoed"] == 1
    with pytest.raises(ConfigError, match=f"attempt {first} has been taken out already"):
        augsynth.finalize(tmp_path / "new", path, out=tmp_path / "newer")


def test_places_that_arent_written_and_runs_that_cant_be_read(full: Path, tmp_path: Path) -> None:
    [first, *_] = two_of(full)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for out, said in (
        (full, "input of this command"),
        (full / "new", "lies in the run"),
        (tmp_path / "mine", "thesis.txt"),
    ):
        with pytest.raises(AugsynthError, match=said):
            augsynth.finalize(full, [first], out=out)
    with pytest.raises(ResumeError, match="holds no run"):
        augsynth.finalize(tmp_path / "mine", [first], out=tmp_path / "new")
    for damage, said in (
        (lambda run: shutil.rmtree(run / "shards"), "records of the run are gone"),
        (
            lambda run: next((run / "images" / "augsynth").iterdir()).write_bytes(b"x"),
            "is damaged, changed or gone",
        ),
        (
            lambda run: (run / "run.json").write_text('{"status": "running", "fingerprint": {}}'),
            "isn't finished",
        ),
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(full, copy)
        damage(copy)
        with pytest.raises(ResumeError, match=said):
            augsynth.finalize(copy, [first], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
