"""Edit modes: what is inserted, what is replaced, and that labels and originals stay true."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PilImage

from augsynth.bank.reader import Bank
from augsynth.core.errors import ConfigError
from augsynth.core.images import read_image
from augsynth.core.records import ShardRecord
from augsynth.core.scene import (
    Detections,
    Image,
    Reason,
    Scene,
)
from augsynth.core.seeding import derive_rng
from augsynth.filtering.judge import Thresholds
from augsynth.generation.config import GenerateConfig
from augsynth.generation.context import RunContext
from augsynth.generation.edits import draw_edit
from augsynth.generation.engine import paint_shard
from augsynth.generation.loading import open_context, open_dataset
from augsynth.generation.run import Tally, generate
from augsynth.generation.run_folder import RunFolder
from augsynth.generation.statistics import CategoryYields
from augsynth.generation.working_image import WorkingImage
from augsynth.inpainting.port import InpaintRequest
from augsynth.sample import write_sample
from tests.generation.run_files import files_of, ignore, provenance, written_to


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerateConfig:
    root = tmp_path_factory.mktemp("source")
    write_sample(root, num_images=8, seed=5, workers=1)
    return GenerateConfig.of(
        n=3,
        annotations=str(root / "annotations" / "instances.json"),
        images=str(root / "images"),
        model="embedded",
        detector="embedded",
        guidance=2.0,
        steps=4,
        bank=True,
        mode="replace",
        # What the embedded models are worth is for the benchmarks to say: here more passes.
        min_score=0.3,
        min_iou=0.1,
    )


@pytest.fixture(scope="module")
def bare(config: GenerateConfig) -> RunContext:
    """A run's context without a filter."""
    return open_context(*open_dataset(config.but(filter="off", steps=2, unmasked="keep")))


@pytest.fixture(scope="module")
def run(config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tally]:
    out = tmp_path_factory.mktemp("run") / "out"
    return out, generate(config.but(out=str(out)), progress=ignore)


def test_a_new_image_has_one_object_exchanged_and_all_others_as_they_were(
    run: tuple[Path, Tally], config: GenerateConfig
) -> None:
    from pycocotools.coco import COCO

    out, tally = run
    assert tally.finished and tally.accepted == tally.images == 3  # one an image, though two are allowed
    original = json.loads(Path(str(config.data.annotations)).read_text())
    augmented = COCO(str(out / "annotations" / "instances_augmented.json"))
    document = augmented.dataset
    assert document["annotations"][: len(original["annotations"])] == original["annotations"]
    ids = [a["id"] for a in document["annotations"]]
    assert len(set(ids)) == len(ids)
    attempts = provenance(out)
    assert all(a["mode"] == "replace" for a in attempts if a["reason"] != "bad_image")
    for attempt in (a for a in attempts if "annotation_id" in a):
        old = next(a for a in original["annotations"] if a["id"] == attempt["replaced_annotation_id"])
        assert old["image_id"] == attempt["source_image_id"]
        assert old["category_id"] == attempt["replaced_category_id"] != attempt["category_id"]
        x, y, w, h = old["bbox"]
        assert attempt["planned_xyxy"] == pytest.approx([x, y, x + w, y + h])
        now = augmented.imgToAnns[attempt["image_id"]]
        stay = [
            a for a in original["annotations"] if a["image_id"] == old["image_id"] and a["id"] != old["id"]
        ]
        assert [a["bbox"] for a in now[:-1]] == [a["bbox"] for a in stay]
        assert [a["category_id"] for a in now[:-1]] == [a["category_id"] for a in stay]
        new = now[-1]
        assert (new["id"], new["category_id"]) == (attempt["annotation_id"], attempt["category_id"])
        assert new["attributes"]["replaced_annotation_id"] == old["id"]
        x1, y1, x2, y2 = attempt["box_xyxy"]
        assert new["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
    bank = Bank.open(out / "bank")
    assert len(bank) == 3 and all(cutout.has_mask for cutout in bank)  # from the mask head
    assert (out / "contact_sheet_accepted.png").is_file()
    assert yaml.safe_load((out / "config.yaml").read_text())["mode"] == "replace"


def test_only_the_old_object_and_its_border_change(run: tuple[Path, Tally], config: GenerateConfig) -> None:
    out, _ = run
    _, dataset = open_dataset(config)
    scenes = {scene.image_id: scene for scene in dataset.scenes}
    for attempt in (a for a in provenance(out) if "annotation_id" in a):
        before = read_image(dataset, scenes[attempt["source_image_id"]])
        changed = (before != np.asarray(PilImage.open(out / "images" / str(attempt["file_name"])))).any(-1)
        x1, y1, x2, y2 = np.array(attempt["planned_xyxy"]).round().astype(int)
        assert changed[y1:y2, x1:x2].mean() > 0.5
        changed[max(0, y1 - 12) : y2 + 12, max(0, x1 - 12) : x2 + 12] = False
        assert not changed.any()


def test_a_killed_run_ends_as_if_it_had_not_been(
    run: tuple[Path, Tally], config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit: Callable[..., None] = RunFolder.commit

    def dying(self: RunFolder, index: int, record: object, **rest: object) -> None:
        commit(self, index, record, **rest)
        raise KeyboardInterrupt

    again = config.but(out=str(tmp_path / "out"))
    monkeypatch.setattr(RunFolder, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(again, progress=ignore)
    monkeypatch.setattr(RunFolder, "commit", commit)
    generate(again, progress=ignore)
    assert files_of(tmp_path / "out") == files_of(run[0])


def with_mode(context: RunContext, **options: object) -> RunContext:
    placing = replace(context.placing, replacement=replace(context.placing.replacement, **options))
    slots = 1 if placing.replacement.mode == "replace" else 2
    return replace(context, placing=placing, loop=replace(context.loop, slots=slots))


def with_chooser(context: RunContext, **changes: object) -> RunContext:
    chooser = replace(context.placing.chooser, **changes)
    return replace(context, placing=replace(context.placing, chooser=chooser))


def paint(context: RunContext, out: Path, *, num: int = 3) -> ShardRecord:
    jobs = list(enumerate(context.dataset.scenes[:num]))
    before = CategoryYields()
    return paint_shard(context, jobs, wanted=99, budget=99, before=before, write_image=written_to(out)).record


def test_insertions_are_the_same_in_every_mode(bare: RunContext, tmp_path: Path) -> None:
    plain = paint(with_mode(bare, mode="insert"), tmp_path / "insert")
    mixed = paint(with_mode(bare, mode="mix", replace_share=0.0), tmp_path / "mix")
    assert len(plain.images) == 3 and files_of(tmp_path / "insert") == files_of(tmp_path / "mix")
    lines = [attempt.to_json() for attempt in plain.attempts]
    assert not any("mode" in line for line in lines)  # these are the records there have always been
    assert [a.to_json() for a in mixed.attempts] == [{**line, "mode": "insert"} for line in lines]


def test_a_mix_has_the_share_of_replacements_that_was_asked_for(bare: RunContext, tmp_path: Path) -> None:
    shard = paint(with_mode(bare, mode="mix", replace_share=1.0), tmp_path / "all")
    assert {a.mode for a in shard.attempts} == {"replace"}
    assert len(shard.images) == 3 and len(shard.images[0].attempts) == 2
    for new in shard.images:
        gone = [shard.attempts[number].replaced_annotation_id for number in new.attempts]
        source = next(s for s in bare.dataset.scenes if s.image_id == new.source_image_id)
        assert len(set(gone)) == len(gone) and set(gone) <= set(source.annotation_ids.tolist())
    placing = with_mode(bare, mode="mix", replace_share=0.3).placing
    scene = bare.dataset.scenes[0]
    pixels = read_image(bare.dataset, scene)
    kinds = [
        draw_edit(
            placing,
            WorkingImage(job, scene, scene, pixels),
            CategoryYields(),
            derive_rng(1, job),
            slot=0,
            seed=42,
        ).mode
        for job in range(60)
    ]
    assert 8 <= kinds.count("replace") <= 28


def test_where_nothing_may_be_replaced_a_mix_inserts_and_replace_says_so(
    bare: RunContext, tmp_path: Path
) -> None:
    source = bare.dataset.scenes[0]
    empty = Scene(source.image_id, source.file_name, source.size_wh)
    only = replace(bare, dataset=replace(bare.dataset, scenes=(empty,)))
    shard = paint(only, tmp_path / "replace", num=1)
    assert [a.reason for a in shard.attempts] == [Reason.NO_OBJECT] and not shard.images
    shard = paint(with_mode(only, mode="mix", replace_share=1.0), tmp_path / "mix", num=1)
    assert shard.attempts[0].mode == "insert"
    spent = with_chooser(bare, quotas=dict.fromkeys(bare.placing.chooser.wanted_ids, 0))
    assert {a.reason for a in paint(spent, tmp_path / "spent", num=1).attempts} == {Reason.NO_CATEGORY}


def test_only_wanted_categories_take_the_place_of_those_they_are_related_to(
    bare: RunContext, tmp_path: Path
) -> None:
    one = min(bare.placing.chooser.wanted_ids)
    shard = paint(with_chooser(bare, wanted_ids=frozenset({one})), tmp_path, num=8)
    made = [a for a in shard.attempts if a.accepted]
    assert made and {a.category_id for a in made} == {one}
    assert all(one in bare.placing.related[a.replaced_category_id] for a in made)


def test_an_object_that_is_still_there_leaves_the_image_unchanged(bare: RunContext, tmp_path: Path) -> None:
    scene = bare.dataset.scenes[0]

    class Unmoved:
        """Finds the annotated objects, whatever has been painted."""

        name, view_px = "unmoved", max(scene.size_wh)

        def detect(self, images: Sequence[Image]) -> list[Detections]:
            seen = Detections(scene.boxes_xyxy, np.full(len(scene), 0.9), scene.category_ids)
            return [seen] * len(images)

    judging = replace(bare.judging, detector=Unmoved(), thresholds=Thresholds(0.5))
    shard = paint(replace(bare, judging=judging), tmp_path, num=1)
    retries = bare.loop.retries
    assert [a.reason for a in shard.attempts] == [Reason.STILL_THERE] * retries
    assert len({a.painted.plan.seed for a in shard.attempts}) == retries
    assert shard.images == () and not tmp_path.joinpath("augsynth").exists()


def test_the_prompt_doesnt_name_what_makes_way(bare: RunContext, tmp_path: Path) -> None:
    seen: list[InpaintRequest] = []

    class Noting:
        name, size, cell = "noting", 64, 4

        def inpaint(self, requests: Sequence[InpaintRequest]) -> list[None]:
            seen.extend(requests)
            return [None] * len(requests)

    prompts = replace(bare.painting.prompts, templates=("a {category} beside {neighbours}",))
    painting = replace(bare.painting, inpainter=Noting(), prompts=prompts)
    shard = paint(replace(bare, painting=painting), tmp_path, num=8)
    beside = [(r.prompt, a) for r, a in zip(seen, shard.attempts, strict=True) if "beside" in r.prompt]
    names = {category.id: category.name for category in bare.dataset.categories}
    single = 0
    for prompt, attempt in beside:
        scene = next(s for s in bare.dataset.scenes if s.image_id == attempt.source_image_id)
        old = attempt.replaced_category_id
        if (scene.category_ids == old).sum() == 1:
            single += 1
            assert names[old] not in prompt.split("beside")[1].strip().split(", ")
    assert single


def test_wrong_options_are_named(config: GenerateConfig, tmp_path: Path) -> None:
    for values, words in (
        ({"mode": "swap"}, "insert, replace, mix"),
        ({"replace_share": 1.5}, "replace_share"),
        ({"replace_area": -0.1}, "replace_area"),
        ({"replace_affinity": 2.0}, "replace_affinity"),
    ):
        with pytest.raises(ConfigError, match=words):
            config.but(**values)
    document = json.loads(Path(str(config.data.annotations)).read_text())
    first = document["categories"][0]
    document["categories"] = [first]
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] == first["id"]]
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="two categories"):
        open_dataset(config.but(annotations=str(path)))
