"""The loop: its pace, its checkpoints, batches prepared ahead, several batches a step."""

import contextlib
import threading
from dataclasses import replace

import pytest
import torch
from diffusers.training_utils import EMAModel

from augsynth.core.errors import BackendError, ResumeError
from augsynth.training import loop
from augsynth.training.detector.objective import StateAverage
from augsynth.training.loop import Schedule, Stage, Tuning, run_training
from tests.tiny_kills import Kill, Killed


def ignore(stage, step, steps, loss):
    pass


def stage_of(folder, **changes):
    schedule = Schedule(6, 4, 0.05, warmup=2, ema=0.9, save_every=2)
    stage = Stage("line", schedule, folder / "line.checkpoint", "key", 1, "cpu", ignore, "no")
    return replace(stage, **changes)


def line():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def loss_of(model, batch):
    points = torch.randn(4, 2, generator=torch.Generator().manual_seed(batch))
    return (model(points) - points.sum(1, keepdim=True)).square().mean()


def values(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_learning_rate_rises_and_falls():
    schedule = Schedule(steps=1000, lr=1.0, warmup=100)
    rates = [schedule.lr_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) > 0.95
    assert rates[-1] == pytest.approx(0.02, abs=0.002)
    later = Schedule(steps=1000, lr=1.0, warmup=50, falls_from=50)
    assert [later.lr_at(step) for step in (0, 49, 50, 525)] == pytest.approx([0.02, 1, 1, 0.51])
    constant = Schedule(steps=100, lr=1.0, warmup=10, falls=False)
    assert [constant.lr_at(k) for k in (0, 9, 99)] == pytest.approx([0.1, 1, 1])


def test_a_training_that_was_killed_at_any_write_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = line()
    run_training(whole, loss_of, stage_of(tmp_path / "whole"))
    saved = []
    for after in range(60):
        root = tmp_path / str(after)
        with monkeypatch.context() as patch:
            kill = Kill(patch, root, after=after)
            with contextlib.suppress(Killed):
                run_training(line(), loss_of, stage_of(root))
        again = line()
        run_training(again, loss_of, stage_of(root), on_save=lambda model, step: saved.append(step))
        assert torch.equal(values(again), values(whole)), after
        if kill.count < after:
            break
    else:
        pytest.fail("it never ended")
    assert {2, 4, 6} <= set(saved)


def test_batches_are_prepared_by_a_thread_in_their_order(tmp_path):
    plain, ahead, seen = line(), line(), []

    def prepare(batch):
        seen.append((batch, threading.current_thread() is threading.main_thread()))
        return batch

    stage = stage_of(tmp_path / "a")
    run_training(plain, loss_of, stage)
    run_training(ahead, loss_of, stage_of(tmp_path / "b"), prepare=prepare)
    assert torch.equal(values(plain), values(ahead))
    assert seen == [(k, False) for k in range(6)]


def test_a_step_of_two_batches_is_a_step_of_their_mean(tmp_path):
    two, mean = line(), line()
    stage = stage_of(tmp_path / "two")
    run_training(two, loss_of, replace(stage, schedule=replace(stage.schedule, accumulate=2)))
    run_training(
        mean, lambda m, k: (loss_of(m, 2 * k) + loss_of(m, 2 * k + 1)) / 2, stage_of(tmp_path / "mean")
    )
    torch.testing.assert_close(values(two), values(mean))


def test_another_training_a_damaged_checkpoint_and_divergence_are_said(tmp_path):
    run_training(line(), loss_of, stage_of(tmp_path))
    with pytest.raises(ResumeError, match=r"another dataset or configuration.*--out"):
        run_training(line(), loss_of, stage_of(tmp_path, key="other"))
    (tmp_path / "line.checkpoint").write_bytes(b"cut off")
    with pytest.raises(ResumeError, match=r"line\.checkpoint: can't be read"):
        run_training(line(), loss_of, stage_of(tmp_path))
    with pytest.raises(BackendError, match=r"line: training diverged at step 3; .* than 0\.05"):
        run_training(
            line(), lambda m, k: loss_of(m, k) / (0 if k == 3 else 1), stage_of(tmp_path / "diverging")
        )


def test_the_average_is_shown_and_kept(tmp_path):
    model, shown = line(), {}
    run_training(model, loss_of, stage_of(tmp_path), on_save=lambda m, step: shown.update({step: values(m)}))
    assert torch.equal(shown[6], values(model))
    assert not torch.equal(shown[2], shown[6])


def test_a_detectors_average_holds_buffers_too():
    network = torch.nn.BatchNorm1d(2)
    state = tuple(network.state_dict().values())
    average = StateAverage(state, decay=0.5)
    assert isinstance(average, EMAModel)
    with torch.no_grad():
        for tensor in state:
            tensor.fill_(10)
    average.step(state)
    assert [float(mean.flatten()[0]) for mean in average.shadow_params] == pytest.approx([9.1, 9, 9, 9.1, 10])
    for _ in range(20):
        average.step(state)
    assert average.shadow_params[0].tolist() == pytest.approx([10, 10], abs=1e-4)


def test_progress_is_told_of_at_most_once_a_second(tmp_path, monkeypatch):
    clock = iter([0.0, 0.4, 0.8, 1.2, 1.2, 1.6, 1.7, 1.8, 1.9])
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    told = []
    run_training(line(), loss_of, stage_of(tmp_path, progress=lambda *what: told.append(what[:3])))
    assert told == [("line", 3, 6), ("line", 6, 6)]


def test_tuning_follows_every_parameter():
    model = line()
    tuning = Tuning.of(model, Schedule(2))
    assert len(tuning.averaged) == len(tuning.average.shadow_params) == 2
