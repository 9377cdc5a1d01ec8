# Faster R-CNN R50-FPN on the dataset that `augsynth generate` wrote: originals and new images.
import os

_base_ = "faster_rcnn_r50.py"
augmented = os.environ.get("AUGSYNTH_AUGMENTED", "runs/mine") + "/"
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            data_root=augmented,
            ann_file="annotations/instances_augmented.json",
            data_prefix=dict(img="images/"),
        )
    )
)
