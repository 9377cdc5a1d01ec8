# RTMDet-tiny; objects of a bank (`augsynth bank`, `generate --bank`) are pasted before mosaics and mixtures.
import os

_base_ = "rtmdet_tiny.py"
custom_imports = dict(imports=["pipelines.hooks", "pipelines.affinity_paste"], allow_failed_imports=False)
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
train_pipeline_plain = [*_base_.train_pipeline_plain[:2], _paste, *_base_.train_pipeline_plain[2:]]
# Redefining train_pipeline alone would change nothing: the data loader and the hook hold copies of their own.
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], switch_pipeline=train_pipeline_plain),
]
