# Your dataset, in COCO format. Set the environment variables, or write your own paths here; the names of the
# classes come from the annotation file.
import json
import os
import pathlib

data_root = os.environ.get("AUGSYNTH_DATA", "data") + "/"
train_ann = os.environ.get("AUGSYNTH_TRAIN_ANN", "train.json")
train_images = os.environ.get("AUGSYNTH_TRAIN_IMAGES", "images") + "/"
val_ann = os.environ.get("AUGSYNTH_VAL_ANN", "val.json")
val_images = os.environ.get("AUGSYNTH_VAL_IMAGES", "images") + "/"
batch_size = int(os.environ.get("AUGSYNTH_BATCH", "8"))
num_workers = int(os.environ.get("AUGSYNTH_WORKERS", "2"))
# Images with a category that is in fewer than this share of the images are shown more often (repeat-factor sampling).
oversample_thr = float(os.environ.get("AUGSYNTH_OVERSAMPLE", "0.1"))

train_file = pathlib.Path(data_root, train_ann)
if not train_file.is_file():
    raise FileNotFoundError(f"{train_file}: no annotation file; set AUGSYNTH_DATA and AUGSYNTH_TRAIN_ANN")
# In the order of the file: that is how CocoDataset numbers them.
classes = tuple(category["name"] for category in json.loads(train_file.read_text("utf-8"))["categories"])
num_classes = len(classes)
metainfo = dict(classes=classes)
del train_file

dataset_type = "CocoDataset"
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="ClassBalancedDataset",
        oversample_thr=oversample_thr,
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file=train_ann,
            data_prefix=dict(img=train_images),
            metainfo=metainfo,
            filter_cfg=dict(filter_empty_gt=False),
        ),
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=val_ann,
        data_prefix=dict(img=val_images),
        metainfo=metainfo,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=data_root + val_ann, metric="bbox", classwise=True)
test_evaluator = val_evaluator
