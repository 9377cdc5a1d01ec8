"""The options of a detector's training."""

import pytest

from augsynth.core.errors import ConfigError
from augsynth.training.detector.options import DetectorTraining


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"lr": -1},
        {"image_scale": 9},
        {"ema_decay": 1.0},
        {"paste": 2},
        {"repeat_threshold": -1},
    ],
)
def test_training_options_are_validated(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        DetectorTraining(**change)
