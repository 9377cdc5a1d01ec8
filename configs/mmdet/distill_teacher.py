# The teacher of distill_student.py: GFL R50-FPN on the dataset that `augsynth generate` wrote.
import os

_base_ = [
    "_base_/gfl_r50_fpn.py",
    "_base_/data.py",
    "_base_/resize_pipeline.py",
    "_base_/sgd.py",
    "_base_/runtime.py",
]
augmented = os.environ.get("AUGSYNTH_AUGMENTED", "runs/mine") + "/"
model = dict(bbox_head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            data_root=augmented,
            ann_file="annotations/instances_augmented.json",
            data_prefix=dict(img="images/"),
            pipeline=_base_.train_pipeline,
        )
    )
)
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        by_epoch=True,
        begin=0,
        end=_base_.max_epochs,
        milestones=[_base_.max_epochs * 2 // 3, _base_.max_epochs * 11 // 12],
        gamma=0.1,
    ),
]
