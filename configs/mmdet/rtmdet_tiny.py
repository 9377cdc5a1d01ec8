# RTMDet-tiny on your dataset as it is.
import os

_base_ = ["_base_/rtmdet_tiny.py", "_base_/data.py", "_base_/runtime.py"]
size = int(os.environ.get("AUGSYNTH_SIZE", "640"))
lr = float(os.environ.get("AUGSYNTH_LR", "0.001"))
# The last epochs train on whole images: mosaics and mixtures aren't what the detector will see.
num_plain_epochs = max(1, _base_.max_epochs // 10)

model = dict(bbox_head=dict(num_classes=_base_.num_classes))
grey = dict(img=(114, 114, 114))
_load = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
_crop = [
    dict(type="RandomCrop", crop_size=(size, size)),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="Pad", size=(size, size), pad_val=grey),
]
_mosaic = dict(
    type="CachedMosaic",
    img_scale=(size, size),
    pad_val=114.0,
    max_cached_images=20,
    random_pop=False,
    prob=0.5,
)
_mixture = dict(
    type="CachedMixUp",
    img_scale=(size, size),
    ratio_range=(1.0, 1.0),
    max_cached_images=10,
    random_pop=False,
    pad_val=(114, 114, 114),
    prob=0.3,
)
_resize = dict(type="RandomResize", scale=(size, size), ratio_range=(0.5, 2.0), keep_ratio=True)
train_pipeline = [*_load, _mosaic, _resize, *_crop, _mixture, dict(type="PackDetInputs")]
train_pipeline_plain = [*_load, _resize, *_crop, dict(type="PackDetInputs")]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(size, size), keep_ratio=True),
    dict(type="Pad", size=(size, size), pad_val=grey),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(proposal_nums=(100, 1, 10))
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-5, by_epoch=False, begin=0, end=200),
    dict(
        type="CosineAnnealingLR",
        eta_min=lr * 0.05,
        begin=_base_.max_epochs // 2,
        end=_base_.max_epochs,
        T_max=_base_.max_epochs - _base_.max_epochs // 2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="EMAHook", ema_type="ExpMomentumEMA", momentum=0.0002, update_buffers=True, priority=49),
    dict(
        type="InnerPipelineSwitch",
        switch_epoch=_base_.max_epochs - num_plain_epochs,
        switch_pipeline=train_pipeline_plain,
    ),
]
