"""The cost of an accepted object: the meter, the plain script's windows, and the table."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from augsynth.generation.config import GenerateConfig
from benchmarks.cost.speed import BATCH, STEPS, Meter, run_contender, table


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the meter changes is as it was afterwards."""
    from diffusers import UNet2DConditionModel

    monkeypatch.setattr(UNet2DConditionModel, "forward", UNet2DConditionModel.forward)


@pytest.mark.usefixtures("uncounted")
def test_the_plain_script_paints_as_many_windows_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.cost.speed.STEPS", 2)
    monkeypatch.setattr(GenerateConfig, "of", small(tmp_path, GenerateConfig.of))
    given = argparse.Namespace(
        contender="batched",
        num=2,
        cores=1,
        device="cpu",
        full_size=False,
        work=tmp_path,
        precision="float32",
    )
    figures = run_contender(given)
    assert figures["attempts"] == 8, "a batch of all that were planned"
    assert figures["samples"] == 8 * 2 * 2, "two steps, two branches of guidance"
    assert 0 < figures["share"] < 1 and figures["first"] > 0 and figures["gib"] > 0.1


def small(root: Path, build):
    """Options of a run on a few scenes."""
    from augsynth.sample import write_sample

    annotations = write_sample(root / "data", num_images=12, seed=3, workers=1)

    def of(**options):
        data = {"annotations": str(annotations), "images": str(root / "data" / "images")}
        return build(**options, **data, model="embedded", detector="embedded", min_auc=0.0)

    return staticmethod(of)


def test_the_loop_is_what_others_are_compared_with() -> None:
    def found(seconds: float, samples: int) -> dict[str, float]:
        return {
            "accepted": 4, "attempts": 5, "seconds": seconds, "samples": samples, "share": 0.5, "first": 3, "gib": 1,
        }  # fmt: skip

    rounds = {
        "loop": [found(8, 250), found(12, 250), found(80, 250)],
        "augsynth": [found(2, 68), found(2, 68), found(2, 68)],
    }
    loop, ours = table(rounds).splitlines()[2:]
    assert loop.startswith("| loop | 4 / 5 | 3.00 | 1.0 × | 62 |"), "medians, one round went wrong"
    assert ours.startswith("| augsynth | 4 / 5 | 0.50 | 6.0 × | 17 |")
    assert (BATCH, STEPS) == (8, 25)


@pytest.mark.usefixtures("uncounted")
def test_the_meter_counts_latents_and_keeps_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import UNet2DConditionModel

    monkeypatch.setattr(UNet2DConditionModel, "forward", lambda self, sample, *rest, **named: sample + 1)
    meter = Meter("cpu")
    meter.watch()
    answer = UNet2DConditionModel.forward(None, np.zeros(3), 1)
    assert answer.tolist() == [1, 1, 1] and meter.samples == 3 and meter.first > 0
