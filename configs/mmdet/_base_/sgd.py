# SGD with warm-up and two steps down; the rate is for the batch size of data.py.
import os

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(
        type="SGD", lr=float(os.environ.get("AUGSYNTH_LR", "0.01")), momentum=0.9, weight_decay=0.0001
    ),
    clip_grad=dict(max_norm=35, norm_type=2),
)
