"""The hooks for training with MMDetection."""

import pytest


@pytest.mark.mmdet
def test_mistakes_are_misses_and_what_is_not_there(tmp_path):
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    from PIL import Image

    from augsynth.training.mmdet_hooks import mistakes

    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    sample = DetDataSample(metainfo={"img_path": str(tmp_path / "a.png")})
    real = [[10.0, 10, 40, 40], [60, 10, 90, 40], [10, 50, 40, 75]]
    guess = [[11.0, 10, 40, 40], [60, 10, 90, 40], [10, 50, 40, 75], [0, 0, 99, 79]]
    sample.gt_instances = InstanceData(bboxes=torch.tensor(real), labels=torch.tensor([0, 1, 0]))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(guess),
        labels=torch.tensor([0, 0, 0, 1]),
        scores=torch.tensor([0.9, 0.8, 0.2, 0.1]),
    )
    found = mistakes(sample, min_score=0.3, min_iou=0.5)
    assert found["count"] == 3
    assert len(found["found"]) == 1
    assert [label for _, label, _ in found["missed"]] == [1, 0]
    assert [label for _, label, _ in found["wrong"]] == [0]
