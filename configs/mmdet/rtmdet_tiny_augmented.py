# RTMDet-tiny on the dataset that `augsynth generate` wrote: originals and new images.
import os

_base_ = "rtmdet_tiny.py"
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
