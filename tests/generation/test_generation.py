"""The whole road on the rendered sample with the models that ship with the package."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PilImage

from augsynth.bank.reader import Bank
from augsynth.coco.reader import read_dataset
from augsynth.core.boxes import view_around
from augsynth.core.errors import BackendError, ResumeError
from augsynth.core.images import read_image
from augsynth.core.scene import Detections, Plan, Reason, Scene, Verdict
from augsynth.filtering.judge import Thresholds
from augsynth.generation.config import GenerateConfig, plain_config, read_config
from augsynth.generation.context import Studio
from augsynth.generation.engine import paint_shard
from augsynth.generation.export import publish_dataset
from augsynth.generation.loading import open_dataset, open_studio
from augsynth.generation.run import Tally, generate
from augsynth.generation.run_folder import RunFolder, read_state
from augsynth.generation.statistics import Counts
from augsynth.inpainting.port import InpaintRequest
from augsynth.inpainting.stitching import mask_cells
from augsynth.sample import write_sample


def ignore(stage: str, tally: Tally) -> None:
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=30, seed=5, workers=2)
    return root


@pytest.fixture(scope="module")
def config(source: Path) -> GenerateConfig:
    return GenerateConfig.of(
        n=9,
        annotations=str(source / "annotations" / "instances.json"),
        images=str(source / "images"),
        model="embedded",
        detector="embedded",
        guidance=2.0,
        objects_per_image=1,
        steps=8,
        bank=True,
        # How good the embedded models are is for the benchmarks to say: here nearly everything passes.
        min_score=0.05,
        min_iou=0.1,
        max_attempts=400,
    )


@pytest.fixture(scope="module")
def run(config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    out = tmp_path_factory.mktemp("run") / "out"
    return out, generate(config.but(out=str(out)), progress=ignore)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def provenance(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "provenance.jsonl").read_text().splitlines()]


def test_the_run_has_what_was_asked_for(run: tuple[Path, Tally]) -> None:
    out, tally = run
    assert tally.finished and tally.accepted == 9
    names = {p.name for p in out.iterdir()}
    assert {"images", "annotations", "provenance.jsonl", "affinity.json", "config.yaml", "run.json"} <= names
    assert "contact_sheet_accepted.png" in names and "shards" not in names


def test_the_bank_holds_what_was_accepted(run: tuple[Path, Tally], source: Path) -> None:
    out, _ = run
    bank = Bank.open(out / "bank")
    kept = sorted(
        (a for a in provenance(out) if "annotation_id" in a), key=lambda a: int(str(a["annotation_id"]))
    )
    assert bank.category_ids.tolist() == [a["category_id"] for a in kept]
    assert bank.scores.tolist() == [a["score"] for a in kept]
    for cutout, attempt in zip(bank, kept, strict=True):
        image = np.asarray(PilImage.open(out / "images" / str(attempt["file_name"])))
        x1, y1 = np.asarray(attempt["box_xyxy"])[:2] - cutout.box_xyxy[:2]
        height, width = cutout.alpha.shape
        x, y = round(x1), round(y1)
        assert (image[y : y + height, x : x + width] == cutout.image).all()
        assert cutout.source_size_wh == (image.shape[1], image.shape[0])
        assert (cutout.alpha > 127).sum() > 0.2 * np.prod(cutout.box_xyxy[2:] - cutout.box_xyxy[:2])


def test_pycocotools_loads_both_files_and_every_new_object_is_marked(
    run: tuple[Path, Tally], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    out, _ = run
    augmented = COCO(str(out / "annotations" / "instances_augmented.json"))
    synthetic = COCO(str(out / "annotations" / "instances_synthetic.json"))
    original = json.loads((source / "annotations" / "instances.json").read_text())
    marked = [a for a in synthetic.anns.values() if a.get("attributes", {}).get("synthetic")]
    assert len(marked) == 9
    assert len(augmented.imgs) == len(original["images"]) + len(synthetic.imgs)
    assert augmented.dataset["annotations"][: len(original["annotations"])] == original["annotations"]
    assert len(augmented.anns) == len(augmented.dataset["annotations"])
    known = {a["annotation_id"]: a for a in provenance(out) if "annotation_id" in a}
    assert set(known) == {a["id"] for a in marked}
    for a in marked:
        assert a["iscrowd"] == 0 and a["area"] > 0
        assert ("segmentation" in a) == ("mask" in a["attributes"]) and a.get("segmentation") != []
        assert known[a["id"]]["seed"] == a["attributes"]["seed"]
        assert known[a["id"]]["category_id"] == a["category_id"]
        image = synthetic.imgs[a["image_id"]]
        x, y, w, h = a["bbox"]
        assert x >= 0 and y >= 0 and x + w <= image["width"] and y + h <= image["height"]
    for record in augmented.imgs.values():
        assert (out / "images" / record["file_name"]).is_file()
        assert PilImage.open(out / "images" / record["file_name"]).size == (record["width"], record["height"])


def test_pixels_outside_the_masks_are_those_of_the_source(run: tuple[Path, Tally], source: Path) -> None:
    out, _ = run
    dataset = read_dataset(source / "annotations" / "instances.json", images=source / "images")
    scenes = {scene.image_id: scene for scene in dataset.scenes}
    kept = [a for a in provenance(out) if "annotation_id" in a]
    for attempt in kept:
        before = read_image(dataset, scenes[attempt["source_image_id"]])
        after = np.asarray(PilImage.open(out / "images" / attempt["file_name"]))
        window = np.array(attempt["window_xyxy"])
        side = int(window[2] - window[0])
        planned = np.array(attempt["planned_xyxy"])
        grown = np.concatenate([planned[:2] - 8, planned[2:] + 8])
        cells = mask_cells(grown, window, num_cells=side)
        allowed = np.zeros(before.shape[:2], bool)
        allowed[window[1] : window[3], window[0] : window[2]] = cells
        changed = (before != after).any(-1)
        assert changed.any()
        assert not (changed & ~allowed).any()


def test_rejected_objects_leave_no_pixel(run: tuple[Path, Tally]) -> None:
    out, tally = run
    written = {p.name for p in (out / "images" / "augsynth").iterdir()}
    named = {Path(str(a["file_name"])).name for a in provenance(out) if "annotation_id" in a}
    assert written == named
    assert len(provenance(out)) == tally.attempts
    assert sum(tally.reasons.values()) == tally.attempts


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    run: tuple[Path, Tally], config: GenerateConfig, tmp_path: Path
) -> None:
    generate(config.but(out=str(tmp_path / "again")), progress=ignore)
    assert files_of(tmp_path / "again") == files_of(run[0])
    generate(config.but(out=str(tmp_path / "other"), seed=43, n=1), progress=ignore)
    assert files_of(tmp_path / "other")["provenance.jsonl"] != files_of(run[0])["provenance.jsonl"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    run: tuple[Path, Tally],
    config: GenerateConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    commit: Callable[..., None] = RunFolder.commit
    done = []

    def dying(self: RunFolder, index: int, record: object, **rest: object) -> None:
        if moment == "after":
            commit(self, index, record, **rest)
        done.append(index)
        raise KeyboardInterrupt

    out = tmp_path / "cut"
    monkeypatch.setattr(RunFolder, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(config.but(out=str(out)), progress=ignore)
    monkeypatch.setattr(RunFolder, "commit", commit)
    assert done == [0] and not (out / "annotations").exists()
    tally = generate(config.but(out=str(out)), progress=ignore)
    assert tally.accepted == 9
    assert files_of(out) == files_of(run[0])


def test_a_run_that_painted_nothing_binds_nobody(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "again"
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BackendError, match=r"model_index\.json"):
        generate(config.but(out=str(out), model=str(tmp_path / "nothing")), progress=ignore)
    with RunFolder(out, {"model": "another"}):
        state = read_state(out)
        assert state is not None and state["fingerprint"] == {"model": "another"}
    (out / "images").mkdir()
    (out / "images" / "painted.png").touch()
    with (
        pytest.raises(ResumeError, match="model = 'another', not 'a third'"),
        RunFolder(out, {"model": "a third"}),
    ):
        pass


def test_a_finished_run_is_left_alone(run: tuple[Path, Tally], config: GenerateConfig) -> None:
    before = files_of(run[0])
    for changed in (config, config.but(n=20)):
        with pytest.raises(ResumeError, match="--out"):
            generate(replace(changed, out=str(run[0])), progress=ignore)
    assert files_of(run[0]) == before


def test_a_foreign_directory_is_left_alone(config: GenerateConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ResumeError, match=r"thesis\.txt"):
        generate(config.but(out=str(tmp_path)), progress=ignore)
    assert files_of(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_spent_budget_is_said_and_the_run_is_published(config: GenerateConfig, tmp_path: Path) -> None:
    strict = config.but(out=str(tmp_path / "out"), min_score=1.0, max_attempts=5, n=3)
    tally = generate(strict, progress=ignore)
    assert tally.finished and tally.accepted == 0 and tally.attempts == 5
    assert "accepted" not in tally.reasons
    document = json.loads((tmp_path / "out" / "annotations" / "instances_synthetic.json").read_text())
    assert document["images"] == [] and document["annotations"] == []
    assert (tmp_path / "out" / "contact_sheet_rejected.png").is_file()


def test_unreadable_images_are_counted_not_fatal(
    config: GenerateConfig, source: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(source, tmp_path / "data")
    images = sorted((tmp_path / "data" / "images").iterdir())
    for path in images[::2]:
        path.write_bytes(path.read_bytes()[:2000])
    damaged = replace(
        config,
        annotations=str(tmp_path / "data" / "annotations" / "instances.json"),
        images=str(tmp_path / "data" / "images"),
        out=str(tmp_path / "out"),
        n=4,
    )
    tally = generate(damaged, progress=ignore)
    assert tally.accepted == 4
    assert tally.reasons["bad_image"] > 0


RANDOM = {"category_choice": "uniform", "placement": "uniform", "filter": "off"}


def test_a_run_with_every_choice_switched_off(config: GenerateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    off = config.but(n=6, steps=2, out=str(out), detector="gone", objects_per_image=2, **RANDOM)
    tally = generate(off, progress=ignore)
    lines = provenance(out)
    assert tally.finished and tally.accepted == 6
    assert set(tally.reasons) <= {"accepted", "no_region"}
    for attempt in (a for a in lines if a["reason"] == "accepted"):
        assert attempt["box_xyxy"] == attempt["planned_xyxy"]
        assert (attempt["score"], attempt["iou"], attempt["alignment_score"]) == (1.0, 1.0, 0.0)
        assert attempt["anchor_annotation_id"] is None
    unnamed = dict.fromkeys(("detector", "detector_revision", "detector_sha256"))
    assert all(unnamed.items() <= line.items() for line in lines)
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert unnamed.items() <= written.pop("models").items()
    assert RANDOM.items() <= written.items() and written["detector"] is None
    assert len(Bank.open(out / "bank")) == 6


@pytest.fixture(scope="module")
def bare(config: GenerateConfig) -> Studio:
    """A studio with every choice switched off."""
    return open_studio(*open_dataset(config.but(steps=2, **RANDOM)))


def test_random_choices_come_from_the_seed(bare: Studio, tmp_path: Path) -> None:
    jobs = list(enumerate(bare.dataset.scenes[:2]))
    shards = [
        paint_shard(bare, jobs, wanted=2, budget=9, before=Counts(), image_dir=tmp_path / name)
        for name in ("one", "two")
    ]
    assert shards[0].attempts == shards[1].attempts and len(shards[0].images) == 2
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_without_a_filter_a_blanked_window_is_still_rejected(bare: Studio, tmp_path: Path) -> None:
    class Blanking:
        name, size, cell = "blanking", 64, 4

        def inpaint(self, requests: Sequence[InpaintRequest]) -> list[None]:
            return [None] * len(requests)

    studio = replace(bare, inpainter=Blanking())
    with pytest.raises(ValueError, match="neither"):
        replace(bare, thresholds=Thresholds(0.5))
    jobs = list(enumerate(bare.dataset.scenes[:3]))
    shard = paint_shard(studio, jobs, wanted=3, budget=6, before=Counts(), image_dir=tmp_path)
    assert {str(a["reason"]) for a in shard.attempts} == {"blank"} and not shard.images


def test_second_objects_get_labels_of_their_own(
    config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accepting(plan: Plan, *, scene: Scene, **rest: object) -> Verdict:
        box = plan.placement.box_xyxy
        second = Detections(box[None] + 0.25, np.array([0.7]), np.array([scene.category_ids[0]]))
        return Verdict(Reason.ACCEPTED, box, 0.9, 1.0, second)

    studio = open_studio(*open_dataset(config.but(steps=2, detector="embedded")))
    monkeypatch.setattr("augsynth.generation.engine.judge", accepting)
    jobs = list(enumerate(studio.dataset.scenes[:2]))
    shard = paint_shard(studio, jobs, wanted=2, budget=6, before=Counts(), image_dir=tmp_path / "images")
    record = {"attempts": shard.attempts, "decoys": shard.decoys, "images": shard.images}
    publish_dataset(tmp_path, studio.dataset, [record], config=config.but(originals="omit"), models={})
    document = json.loads((tmp_path / "annotations" / "instances_synthetic.json").read_text())
    new = [a for a in document["annotations"] if a.get("attributes", {}).get("synthetic")]
    assert len(new) == 4 and len({a["id"] for a in document["annotations"]}) == len(document["annotations"])
    assert [a["attributes"].get("extra", False) for a in new] == [False, True] * 2
    kept = [a for a in provenance(tmp_path) if a["reason"] == "accepted"]
    assert [a["extras"][0]["annotation_id"] for a in kept] == [a["id"] for a in new[1::2]]
    tally = Tally(2)
    tally.add(record)
    assert tally.accepted == tally.extras == 2


def test_uniform_categories_are_each_alike_until_their_quota_is_used(bare: Studio) -> None:
    dataset, rng = bare.dataset, np.random.default_rng(0)
    drawn = Counter(bare.choose_category(s, Counts(), rng) for s in [*dataset.scenes] * 40)
    expected = 40 * len(dataset.scenes) / len(dataset.categories)
    assert set(drawn) == {c.id for c in dataset.categories}
    assert all(abs(count / expected - 1) < 0.4 for count in drawn.values())
    one, two, *_ = [c.id for c in dataset.categories]
    few = replace(bare, wanted_ids=frozenset({one, two}), quotas={one: 1})
    scene: Scene = dataset.scenes[0]
    assert {few.choose_category(scene, Counts(), rng) for _ in range(40)} == {one, two}
    assert {few.choose_category(scene, Counts(accepted=Counter({one: 1})), rng) for _ in range(20)} == {two}
    none = replace(few, quotas={one: 1, two: 0})
    assert none.choose_category(scene, Counts(accepted=Counter({one: 1})), rng) is None


def test_categories_that_are_turned_down_are_tried_more_often(config: GenerateConfig) -> None:
    tried, accepted = Counter({c: 40 for c in range(1, 14)}), Counter({c: 30 for c in range(1, 14)})
    hard = 8
    accepted[hard] = 6
    assert Counts().relative_yield(hard) == 1.0
    assert Counts(tried, accepted).relative_yield(1) == 1.0
    assert 0.2 < Counts(tried, accepted).relative_yield(hard) < 0.35
    accepted[hard] = 0
    tried[hard] = 4000
    assert Counts(tried, accepted).relative_yield(hard) == 1 / 8
    shares = []
    for persistence in (0.0, 1.0):
        studio = open_studio(*open_dataset(config.but(filter="off", persistence=persistence)))
        rng = np.random.default_rng(0)
        drawn = Counter(
            studio.choose_category(s, Counts(tried, accepted), rng) for s in [*studio.dataset.scenes] * 40
        )
        shares.append(drawn[hard] / drawn.total())
    assert 2 * shares[0] < shares[1] < 8.5 * shares[0]


@pytest.mark.parametrize("key", ["filter", "alignment"])
def test_an_unquoted_off_is_what_it_says(tmp_path: Path, key: str) -> None:
    (tmp_path / "options.yaml").write_text(f"{key}: off\n")
    assert plain_config(read_config(tmp_path / "options.yaml"))[key] == "off"


def test_the_view_holds_the_window() -> None:
    for window in ([0, 0, 64, 64], [900, 500, 964, 564], [700, 0, 764, 64]):
        view = view_around(np.array(window), (1000, 600), side=320)
        assert (view[:2] <= window[:2]).all() and (view[2:] >= window[2:]).all()
        assert view[2] <= 1000 and view[3] <= 600
    assert view_around(np.array([0, 0, 64, 64]), (320, 240), side=320).tolist() == [0, 0, 320, 240]
