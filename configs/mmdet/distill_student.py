# A quicker GFL R18-FPN that learns from the labels of the augmented dataset and from the teacher's box distributions
# (localization distillation, arXiv 2102.12252). AUGSYNTH_TEACHER is the teacher's best checkpoint.
import os

_base_ = "distill_teacher.py"
teacher = os.environ.get("AUGSYNTH_TEACHER", "")
if not teacher:
    raise ValueError("AUGSYNTH_TEACHER isn't set; train distill_teacher.py and set it to its best checkpoint")
model = dict(
    type="KnowledgeDistillationSingleStageDetector",
    teacher_config="{{fileDirname}}/distill_teacher.py",
    teacher_ckpt=teacher,
    backbone=dict(depth=18, init_cfg=dict(checkpoint="torchvision://resnet18")),
    neck=dict(in_channels=[64, 128, 256, 512]),
    bbox_head=dict(
        type="LDHead", loss_ld=dict(type="KnowledgeDistillationKLDivLoss", loss_weight=0.25, T=10)
    ),
)
