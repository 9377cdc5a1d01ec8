# What every training here has in common: seed, one best and one last checkpoint, pictures of mistakes.
import os

custom_imports = dict(imports=["augsynth.training.mmdet_hooks"], allow_failed_imports=False)
default_scope = "mmdet"
randomness = dict(seed=42)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
load_from = os.environ.get("AUGSYNTH_LOAD_FROM") or None
resume = False

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook",
        interval=1,
        save_best="coco/bbox_mAP_50",
        rule="greater",
        max_keep_ckpts=1,
        save_last=True,
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="DetVisualizationHook"),
)
custom_hooks = [dict(type="MistakePictures", num_images=8, min_score=0.3)]

# AUGSYNTH_WANDB=offline or online; the best checkpoint becomes an artifact of the run.
wandb_mode = os.environ.get("AUGSYNTH_WANDB", "")
vis_backends = [dict(type="LocalVisBackend")]
if wandb_mode:
    vis_backends.append(
        dict(
            type="WandbVisBackend",
            init_kwargs=dict(project=os.environ.get("WANDB_PROJECT", "augsynth"), mode=wandb_mode),
        )
    )
    custom_hooks.append(dict(type="BestCheckpointArtifact"))
visualizer = dict(type="DetLocalVisualizer", vis_backends=vis_backends, name="visualizer")

max_epochs = int(os.environ.get("AUGSYNTH_EPOCHS", "36"))
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
