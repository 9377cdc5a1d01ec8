# Faster R-CNN R50-FPN; objects of a bank (`augsynth bank`, `generate --bank`) are pasted into every other image.
import os

_base_ = "faster_rcnn_r50.py"
custom_imports = dict(
    imports=["augsynth.training.mmdet_hooks", "augsynth.pasting.transform"], allow_failed_imports=False
)
bank = os.environ.get("AUGSYNTH_BANK", "data/bank")
# A file of `augsynth build-affinity`; without one it is learnt from the annotations when the training starts.
affinity = os.environ.get("AUGSYNTH_AFFINITY") or None
_paste = dict(
    type="AffinityPaste",
    bank=bank,
    affinity=affinity,
    annotations=None if affinity else _base_.data_root + _base_.train_ann,
    classes=_base_.classes,
    prob=0.5,
    max_objects=3,
)
train_pipeline = [*_base_.train_pipeline[:2], _paste, *_base_.train_pipeline[2:]]
# Redefining train_pipeline alone would change nothing: the data loader holds its own copy.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
# The last quarter of the epochs shows images as they are, which was better than pasting to the end with many of them.
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="InnerPipelineSwitch",
        switch_epoch=_base_.max_epochs * 3 // 4,
        switch_pipeline=_base_.train_pipeline,
    ),
]
