"""What a detector learns by."""

import pytest
import torch

from augsynth.training.detector.examples import ExampleStream
from augsynth.training.detector.objective import detection_loss, new_network, schedule_of, tuning_of
from augsynth.training.detector.options import DetectorTraining
from augsynth.training.loop import Stage, run_training, silent


@pytest.mark.parametrize("preset", ["frcnn_base", "retinanet_resnet50_fpn"])
def test_other_architectures_take_a_step(preset, shapes, tmp_path):
    dataset, images = shapes
    options = DetectorTraining(preset=preset, steps=2, batch_size=1, image_scale=1.0)
    stream = ExampleStream(
        dataset,
        lambda s: images[s.file_name],
        canvas_wh=(96, 64),
        image_scale=1.0,
        batch_size=1,
        seed=1,
        vertical_flip=True,
        repeat_threshold=0.1,
        cache_mb=1,
    )
    network = new_network(options, num_categories=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stage = Stage(
        "detector", schedule_of(options, steps=2), tmp_path / "checkpoint", "", 1, "cpu", silent, "no"
    )
    run_training(
        network,
        detection_loss(options),
        stage,
        tuning=tuning_of(network, options),
        prepare=lambda k: (k, stream.batch(k)),
    )
    after = network.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


def test_the_rate_warms_up_for_a_twentieth_of_the_steps():
    schedule = schedule_of(DetectorTraining(lr=1.0), steps=200)
    assert [schedule.lr_at(k) for k in (0, 9, 10, 105)] == pytest.approx([0.1, 1, 1, 0.51])
    assert schedule_of(DetectorTraining(), steps=100_000).warmup == 500
