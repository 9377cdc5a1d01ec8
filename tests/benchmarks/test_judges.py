"""The judges of artefacts and labels: they find what is there, and nothing where nothing is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from augsynth.affinity.model import Affinity
from augsynth.coco.reader import read_dataset
from augsynth.core.errors import DatasetError
from augsynth.core.images import read_image, write_image
from augsynth.core.records import Attempt, Judgement, NewImage, PlainShard, PlannedObject, ShardRecord
from augsynth.core.scene import Category, Reason, Scene
from augsynth.generation.config import GenerateConfig
from augsynth.generation.export import publish_dataset
from augsynth.placement.appearance import Appearance
from augsynth.placement.layout import Layout
from augsynth.sample import write_sample
from benchmarks.judges import artefacts, crop_features, finished_run, labels, probe
from tests.filtering.recorded import Recorded
from tests.generation.run_files import written_to

QUICK = artefacts.Options(size=24, seeds=1, folds=3, steps=120)


@pytest.fixture(scope="module")
def sample_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, num_images=70, seed=5, workers=1)
    return root


@pytest.fixture(scope="module")
def fake_run(sample_root, tmp_path_factory):
    """A run whose synthetic objects are real ones taken out of the source's annotations."""
    out = tmp_path_factory.mktemp("runs") / "fake"
    config = GenerateConfig.of(
        annotations=str(sample_root / "annotations/instances.json"),
        images=str(sample_root / "images"),
        out=str(out),
    )
    full = read_dataset(Path(config.data.annotations), images=Path(config.data.images))
    taken, attempts, images = set(), [], []
    for job, scene in enumerate(full.scenes[:35]):
        fit = finished_run.admissible(
            scene, max_overlap=config.placement.max_overlap, min_size=config.placement.min_size
        )
        numbers = []
        for i in np.flatnonzero(fit)[:3]:
            numbers.append(len(attempts))
            taken.add(int(scene.annotation_ids[i]))
            box = scene.boxes_xyxy[i].tolist()
            window = (0, 0, min(scene.size_wh), min(scene.size_wh))
            attempts.append(
                Attempt(
                    job=job, slot=0, retry=0, source_image_id=scene.image_id, reason=Reason.ACCEPTED,
                    category_id=int(scene.category_ids[i]),
                    plan=PlannedObject(
                        planned_xyxy=tuple(box), window_xyxy=window, anchor_annotation_id=None,
                        alignment_score=0.0, prompt="", seed=job,
                    ),
                    judgement=Judgement(score=0.9, iou=1.0, box_xyxy=tuple(box)),
                )
            )  # fmt: skip
        if numbers:
            name = f"augsynth/{job:06d}.png"
            write_image(out / "images" / name, read_image(full, scene))
            images.append(
                NewImage(
                    job=job, file_name=name, source_image_id=scene.image_id, size_wh=scene.size_wh,
                    attempts=tuple(numbers),
                )
            )  # fmt: skip
    document = {
        **full.document,
        "annotations": [a for a in full.document["annotations"] if a["id"] not in taken],
    }
    shard = ShardRecord(jobs=35, attempts=tuple(attempts), images=tuple(images))
    publish_dataset(out, replace(full, document=document), [PlainShard.of(shard)], config=config, models={})
    return finished_run.read_run(out)


def test_a_run_is_read_back_with_its_real_and_synthetic_objects(fake_run):
    assert len(fake_run.source.scenes) == 70
    assert len(fake_run.synthetic) == len(fake_run.attempts) > 60
    copies = sum(int((~fake_run.is_synthetic(scene)).sum()) for scene in fake_run.edited.scenes)
    assert copies > 0
    assert fake_run.config.placement.max_overlap == 0.1


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="finished"):
        finished_run.read_run(tmp_path)


def test_admissible_objects_are_whole_free_and_large_enough():
    boxes = [
        [10, 10, 30, 30],
        [0, 40, 20, 60],
        [50, 50, 80, 80],
        [75, 60, 95, 80],
        [60, 5, 66, 11],
        [5, 70, 25, 90],
    ]
    scene = Scene(
        1, "a.png", (100, 100), np.array(boxes, float), np.ones(6, np.int64), np.arange(6), np.arange(6) == 5
    )
    fit = finished_run.admissible(scene, max_overlap=0.1, min_size=8)
    assert fit.tolist() == [True, False, False, False, False, False]
    assert finished_run.admissible(scene, max_overlap=0.3, min_size=6).tolist() == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]


def test_equal_numbers_and_no_image_on_both_sides(fake_run):
    sample = artefacts.collect(fake_run, matched=True, max_objects=60)
    for category in np.unique(sample.category_ids):
        of = sample.category_ids == category
        assert (sample.synthetic & of).sum() * 2 == of.sum()
    tested = []
    for train, test in probe.splits(sample.synthetic, sample.groups, folds=3, seed=0):
        assert not set(sample.groups[train]) & set(sample.groups[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(len(sample.crops)))


def degraded(crop, *, blur=0.0, tint=0.0):
    """The crop with its box blurred by a Gaussian of `blur` pixels and `tint` levels redder."""
    patch = crop.patch.astype(np.float64)
    box = crop_features._whole(crop, 1.15)
    changed = ndimage.gaussian_filter(patch, (blur, blur, 0)) if blur else patch.copy()
    changed += np.array([tint, 0.0, -tint])
    patch[box] = changed[box]
    return replace(crop, patch=np.clip(np.round(patch), 0, 255).astype(np.uint8), synthetic=True)


def test_the_network_finds_blur_and_nothing_in_real_objects(fake_run):
    sample = artefacts.collect(fake_run, matched=True, max_objects=100)
    assert 0.3 < probe.auc(sample.probe(QUICK), sample.synthetic) < 0.7
    blurred = [degraded(c, blur=1.2) if c.synthetic else c for c in sample.crops]
    found = artefacts.Sample.of(blurred)
    assert probe.auc(found.probe(QUICK), found.synthetic) > 0.8


@pytest.mark.parametrize(
    ("fault", "group"), [({"blur": 0.7}, "sharpness and grain"), ({"tint": 14.0}, "edge of the box")]
)
def test_the_nameable_features_name_the_fault(fake_run, fault, group):
    sample = artefacts.collect(fake_run, matched=True, max_objects=100)
    sample = artefacts.Sample.of([degraded(c, **fault) if c.synthetic else c for c in sample.crops])
    groups = crop_features.feature_groups(sample.crops)
    assert tuple(groups) == crop_features.GROUPS
    assert all(np.isfinite(features).all() for features in groups.values())
    aucs = {}
    for name in (group, "geometry"):
        logistic, forest = sample.judge_features(groups[name], QUICK)
        assert logistic.shape == forest.shape == sample.synthetic.shape
        aucs[name] = probe.auc(logistic, sample.synthetic)
    assert aucs[group] > 0.75
    assert 0.3 < aucs["geometry"] < 0.7
    assert f"{group} (AUC" in artefacts.in_words(aucs, dict.fromkeys(crop_features.VARIANTS, 0.9))


def test_hidden_parts_are_hidden(fake_run):
    crop = artefacts.collect(fake_run, matched=True, max_objects=60).crops[0]
    whole, inner_hidden, outer_hidden, blurred = (
        crop_features.crop_pixels([crop], size=32, variant=variant)[0] for variant in crop_features.VARIANTS
    )
    assert (inner_hidden[15:17, 15:17] == 128).all() and (outer_hidden[0, 0] == 128).all()
    assert (whole[15:17, 15:17] != 128).any() and blurred.astype(float).std() < whole.astype(float).std()


def test_auc_and_its_interval():
    synthetic = np.array([True, True, False, False])
    assert probe.auc(np.array([2.0, 1.0, 0.0, 1.0]), synthetic) == 0.875
    groups = np.array([str(i) for i in range(200)])
    truth = np.arange(200) % 2 == 0
    scores = np.random.default_rng(0).normal(size=200)
    low, high = probe.auc_interval(scores, truth, groups)
    assert low < 0.5 < high and 0.1 < high - low < 0.25


def test_the_sheet_is_written(fake_run, tmp_path):
    sample = artefacts.collect(fake_run, matched=True, max_objects=20)
    path = tmp_path / "sheet.png"
    artefacts.write_sheet(sample, np.arange(len(sample.crops), dtype=float), names=fake_run.names, path=path)
    assert path.stat().st_size > 1000


def test_grades_of_a_run_whose_judge_knows_one_object(fake_run):
    scene = fake_run.edited.scenes[0]
    first = int(np.flatnonzero(fake_run.is_synthetic(scene))[0])
    judge = Recorded([scene.boxes_xyxy[first]], [0.9], [scene.category_ids[first]])
    found = labels.grade_new_images(fake_run, judge, min_score=0.1)
    assert len(found["accepted"]) == len(found["planned"]) == len(fake_run.synthetic)
    assert len(found["admissible"]) < len(found["real"])
    assert found["accepted"].right().sum() >= 1 and found["accepted"].right().mean() < 0.2
    sources = {a["source_image_id"] for a in fake_run.attempts}
    assert set(found["accepted"].image_ids.tolist()) == sources >= set(found["real"].image_ids.tolist())


def test_both_figures_and_their_ratio_are_printed(fake_run, capsys):
    scene = fake_run.edited.scenes[0]
    judge = Recorded(scene.boxes_xyxy, [0.9] * len(scene.boxes_xyxy), scene.category_ids)
    labels.print_tables(labels.grade_new_images(fake_run, judge, min_score=0.1), fake_run.names)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| real objects of")]
    num_real = sum(int((~fake_run.is_synthetic(s)).sum()) for s in fake_run.edited.scenes)
    assert (
        len(rows) == 2 and f"% of {len(fake_run.synthetic)} |" in rows[1] and f"% of {num_real} |" in rows[1]
    )


def test_first_attempts_are_painted_again_as_the_run_painted_them(sample_root, tiny_checkpoint, tmp_path):
    from augsynth.filtering.judge import FilterRules, Thresholds
    from augsynth.generation import engine
    from augsynth.generation.context import CategoryChooser, Judging, LoopRules, Painting, Placing, RunContext
    from augsynth.generation.statistics import CategoryYields
    from augsynth.inpainting.loading import load_inpainter
    from augsynth.inpainting.prompts.book import PromptBook, PromptRules
    from augsynth.placement.proposal import PlacementRules

    dataset = read_dataset(sample_root / "annotations/instances.json", images=sample_root / "images")
    dataset = replace(dataset, scenes=dataset.scenes[:8])
    inpainter = load_inpainter(str(tiny_checkpoint), steps=2, guidance=1.0)
    context = RunContext(
        dataset,
        Placing(
            CategoryChooser(Affinity.fit(dataset), frozenset(c.id for c in dataset.categories)),
            Layout.fit(dataset),
            Appearance.fit(dataset, lambda scene: read_image(dataset, scene)),
            PlacementRules(context=1.8, max_zoom=1.0, model_window=inpainter.size),
        ),
        Painting(inpainter, PromptBook.open(PromptRules(), dataset.categories)),
        Judging(FilterRules(), Recorded([], [], []), Thresholds(0.5)),
        loop=LoopRules(retries=1),
    )
    shard = engine.paint_shard(
        context, list(enumerate(dataset.scenes[:3])), wanted=9, budget=3, before=CategoryYields(),
        write_image=written_to(tmp_path),
    )  # fmt: skip
    attempts = [{"attempt": i, **a.to_json()} for i, a in enumerate(shard.record.attempts)]
    again = list(labels.repaint(context, attempts[::-1]))
    assert len(again) == 3
    for attempt, image, painted in again:
        x1, y1, x2, y2 = attempt["window_xyxy"]
        assert painted
        assert np.array_equal(image[y1:y2, x1:x2], np.split(shard.tiles[attempt["tile"]], 2, axis=1)[1])
    attempts[0]["window_xyxy"] = [0, 0, 9, 9]
    with pytest.raises(DatasetError, match="window"):
        list(labels.repaint(context, attempts[:1]))


def test_each_stage_changes_the_object_alone_and_more_than_the_one_before(sample_root):
    """Real models: the embedded detector must know real objects, and noise must not pass for them."""
    from augsynth.detectors.loading import EMBEDDED_DETECTOR, load_detector
    from augsynth.filtering.thresholds import Thresholds
    from augsynth.inpainting.loading import load_inpainter
    from benchmarks.judges import stages

    dataset = read_dataset(sample_root / "annotations/instances.json", images=sample_root / "images")
    dataset = replace(dataset, scenes=dataset.scenes[:12])
    painter = load_inpainter("embedded", steps=2, batch_size=8, sampler="ddim")
    detector = load_detector(EMBEDDED_DETECTOR, dataset.categories)
    pieces = stages.draw_pieces(dataset, painter, per_category=2, seed=1)
    kinds = [piece.plan.placement.category_id for piece in pieces]
    assert max(kinds.count(k) for k in kinds) == 2
    changes, accepted = {}, {}
    for name, images in stages.stages(painter, pieces, [0.5]):
        reasons, scores = stages.judge_stage(detector, pieces, images, Thresholds(0.3))
        assert all(0 <= score <= 1 for score in scores)
        accepted[name] = stages.mean_share(pieces, reasons, sorted(set(kinds)))
        inside, outside = [], []
        for piece, image in zip(pieces, images, strict=True):
            changed = np.abs(image.astype(int) - piece.image).mean(-1)
            x1, y1, x2, y2 = piece.plan.window_xyxy
            inside.append(changed[y1:y2, x1:x2].mean())
            changed[y1:y2, x1:x2] = 0
            outside.append(changed.max())
        assert max(outside) == 0
        changes[name] = float(np.mean(inside))
    left_out = [f"painted, {name}" for name in stages.LEFT_OUT]
    assert list(changes) == [
        "untouched", "resampled", "autoencoder", "strength 0.5", "painted", *left_out
    ]  # fmt: skip
    assert changes["painted"] < changes["painted, no feather"]
    assert all(changes[name] != changes["painted"] for name in left_out)
    assert changes["untouched"] == 0
    assert changes["resampled"] < 0.5 < changes["autoencoder"] < changes["painted"]
    assert accepted["resampled"] >= 60
    assert accepted["autoencoder"] > accepted["painted"]  # two steps don't paint much


def test_categories_are_named(fake_run):
    assert isinstance(fake_run.source.categories[0], Category)
    assert fake_run.names[fake_run.source.categories[0].id] == fake_run.source.categories[0].name
