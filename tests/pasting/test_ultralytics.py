"""AffinityPaste for Ultralytics: on labels as its datasets load them, and in its own training where it is installed."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from augsynth.core.errors import ConfigError
from augsynth.core.masks import bounds_of, fill_polygons
from augsynth.pasting.ultralytics import AffinityPaste
from tests.pasting.discs import NAMES, SIZE_WH, disc_polygon, write_all

DISCS = ((30, 40, 10, 0), (81, 51, 11, 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("data"))


class Instances:
    """Boxes and segments with the interface of `ultralytics.utils.instance.Instances`."""

    def __init__(self, bboxes, segments=None, keypoints=None, bbox_format="xywh", normalized=True):
        self.bboxes, self.segments, self.keypoints = bboxes, segments, keypoints
        self.bbox_format, self.normalized = bbox_format, normalized

    def convert_bbox(self, format):
        assert (self.bbox_format, format) in (("xywh", "xyxy"), ("xyxy", "xyxy"))
        if self.bbox_format == "xywh":
            centre, half = self.bboxes[:, :2], self.bboxes[:, 2:] / 2
            self.bboxes = np.hstack([centre - half, centre + half])
        self.bbox_format = format

    def denormalize(self, w, h):
        if self.normalized:
            self.bboxes, self.segments = self.bboxes * [w, h, w, h], self.segments * [w, h]
        self.normalized = False


class Dataset:
    """What the adapter asks of a dataset of Ultralytics."""

    use_keypoints = use_obb = False

    def __init__(self, *, segments=False, empty=False):
        self.data, self.segments = {"names": dict(enumerate(NAMES))}, segments
        self.use_segments, self.empty = segments, empty

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.get_image_and_label(index)["img"].tobytes()

    def get_image_and_label(self, index):
        rng = np.random.default_rng(index)
        boxes = np.array([[x, y, 2 * r, 2 * r] for x, y, r, _ in DISCS], np.float32) / [*SIZE_WH, *SIZE_WH]
        outlines = (
            np.array([disc_polygon(*disc[:3]) for disc in DISCS], np.float32).reshape(2, -1, 2) / SIZE_WH
        )
        kinds = np.array([[disc[3]] for disc in DISCS], np.float32)
        if self.empty:
            kinds, boxes, outlines = kinds[:0], boxes[:0], outlines[:0]
        return {
            "img": rng.integers(105, 125, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8),
            "cls": kinds,
            "instances": Instances(boxes, outlines if self.segments else np.zeros((0, 24, 2), np.float32)),
            "im_file": f"{index}.png",
        }


def attach(data, dataset, **options):
    AffinityPaste(data / "bank", data / "affinity.json", **dict(prob=1.0) | options).attach(dataset)
    return dataset


@pytest.mark.parametrize("segments", [False, True])
def test_labels_come_out_in_step(data, segments):
    dataset, new = Dataset(segments=segments), 0
    attach(data, dataset, max_objects=5, seed=0, rules=dict(max_overlap=0.6))
    for index in range(8):
        found = dataset.get_image_and_label(index)
        instances, num = found["instances"], len(found["cls"])
        assert found["im_file"] == f"{index}.png" and found["img"].dtype == np.uint8
        assert found["cls"].shape == (num, 1) and found["cls"].dtype == np.float32
        assert len(instances.bboxes) == num and set(found["cls"].ravel().tolist()) <= {0, 1, 2}
        assert len(instances.segments) == (num if segments else 0)
        for box, outline in zip(instances.bboxes, instances.segments, strict=segments):
            filled = fill_polygons([outline.ravel()], np.array([0, 0, *SIZE_WH]))
            assert np.abs(bounds_of(filled) - box).max() <= 2
        new += num - 2
    assert new >= 8


class Trainer:
    """What the adapter asks of a trainer of Ultralytics."""

    def __init__(self, dataset):
        self.resets, self.epoch, self.callbacks = 0, 0, {}
        self.train_loader = SimpleNamespace(dataset=dataset, reset=self.count)

    def count(self):
        self.resets += 1

    def add_callback(self, event, call):
        self.callbacks[event] = call

    def begin(self, epoch):
        self.epoch = epoch
        self.callbacks["on_train_epoch_start"](self)


def test_the_callback_begins_anew_with_workers(data):
    trainer = Trainer(Dataset())
    paste = AffinityPaste(data / "bank", data / "affinity.json", prob=1.0)
    paste(trainer)
    assert trainer.resets == 1 and not trainer.callbacks
    assert len(trainer.train_loader.dataset.get_image_and_label(0)["cls"]) > 2
    assert paste.counters["images"] == 1


def test_with_a_seed_it_is_told_of_the_epochs(data):
    trainer = Trainer(Dataset())
    AffinityPaste(data / "bank", data / "affinity.json", prob=1.0, seed=3)(trainer)
    found = []
    for epoch in (0, 1, 0):
        trainer.begin(epoch)
        found.append(trainer.train_loader.dataset[0])
    assert found[0] == found[2] != found[1]
    assert trainer.resets == 3  # once for the pasting, and for each epoch that the workers don't know of


def loaded(dataset, workers):
    return list(torch.utils.data.DataLoader(dataset, None, num_workers=workers))


def test_the_number_of_workers_changes_nothing_with_a_seed(data):
    dataset = attach(data, Dataset(), seed=42)
    assert loaded(dataset, 0) == loaded(dataset, 1) == loaded(dataset, 4)


@pytest.mark.parametrize("segments", [False, True])
def test_images_without_objects_are_pasted_into_on_request(data, segments):
    plain, dataset = Dataset(segments=segments, empty=True), Dataset(segments=segments, empty=True)
    assert len(attach(data, plain).get_image_and_label(0)["cls"]) == 0
    found = attach(data, dataset, into_empty=True).get_image_and_label(0)
    num = len(found["cls"])
    assert num and len(found["instances"].bboxes) == num
    assert len(found["instances"].segments) == (num if segments else 0)


def test_numpys_generator_decides_without_a_seed_and_it_is_pickled(data):
    dataset = attach(data, Dataset())
    again = pickle.loads(pickle.dumps(dataset))
    images = []
    for one in (dataset, again, again):
        if len(images) < 2:
            np.random.seed(1)
        images.append(one.get_image_and_label(0)["img"].tobytes())
    assert images[0] == images[1] != images[2]


@pytest.mark.parametrize("what", ["use_keypoints", "use_obb"])
def test_other_tasks_are_refused(data, what):
    dataset = Dataset()
    setattr(dataset, what, True)
    with pytest.raises(ConfigError, match="box or segment"):
        attach(data, dataset)


def write_yolo(data, folder, *, segments):
    import json
    import shutil

    (folder / "labels").mkdir(parents=True)
    shutil.copytree(data / "images", folder / "images")
    document = json.loads((data / "train.json").read_text())
    for image in document["images"]:
        lines = []
        for a in document["annotations"]:
            if a["image_id"] == image["id"]:
                label = (3, 7, 12).index(a["category_id"])
                x, y, w, h = a["bbox"]
                box = np.array([x + w / 2, y + h / 2, w, h]) / [*SIZE_WH, *SIZE_WH]
                outline = np.array(a["segmentation"][0]).reshape(-1, 2) / SIZE_WH
                values = outline.ravel() if segments else box
                lines.append(" ".join([str(label), *(f"{v:.6f}" for v in values)]))
        (folder / "labels" / image["file_name"]).with_suffix(".txt").write_text("\n".join(lines))
    listed = dict(path=str(folder), train="images", val="images", names=dict(enumerate(NAMES)))
    (folder / "data.yaml").write_text(yaml.safe_dump(listed))
    return folder / "data.yaml"


def test_a_dataset_of_ultralytics_in_any_number_of_workers(data, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    pytest.importorskip("ultralytics", reason="needs ultralytics, which is AGPL and no dependency")
    from ultralytics.data.dataset import YOLODataset

    described = write_yolo(data, tmp_path / "yolo", segments=True)
    dataset = YOLODataset(
        img_path=str(tmp_path / "yolo/images"),
        data=yaml.safe_load(described.read_text()),
        task="segment",
        imgsz=160,
        augment=False,
    )

    class Pasted(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            found = dataset.get_image_and_label(index)
            return found["img"].tobytes(), found["instances"].segments.tobytes()

    plain = loaded(Pasted(), 0)
    attach(data, dataset, seed=42)
    first = loaded(Pasted(), 0)
    assert first == loaded(Pasted(), 1) == loaded(Pasted(), 4)
    assert all(a[0] != b[0] for a, b in zip(first, plain, strict=True))


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_in_the_training_of_ultralytics_itself(data, tmp_path, monkeypatch, task):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    ultralytics = pytest.importorskip(
        "ultralytics", reason="needs ultralytics, which is AGPL and no dependency"
    )
    described = write_yolo(data, tmp_path / "yolo", segments=task == "segment")
    model = ultralytics.YOLO("yolo11n-seg.yaml" if task == "segment" else "yolo11n.yaml")
    seen = []
    model.add_callback(
        "on_pretrain_routine_end", AffinityPaste(data / "bank", data / "affinity.json", prob=1.0)
    )
    model.add_callback("on_train_batch_end", lambda trainer: seen.append(trainer.train_loader.dataset[1]))
    options = dict(imgsz=160, epochs=1, batch=8, workers=2, device="cpu", plots=False, val=False, mosaic=0.0)
    model.train(data=str(described), project=str(tmp_path / "runs"), **options)
    plain = type(model.trainer.train_loader.dataset).get_image_and_label(
        model.trainer.train_loader.dataset, 1
    )
    assert len(seen) == 3 and all(len(batch["cls"]) > len(plain["cls"]) for batch in seen)
