"""LoRAs of tiny random checkpoints: what is trained, resuming, the folder, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from augsynth import cli
from augsynth.core.errors import BackendError, ConfigError, ResumeError
from augsynth.inpainting.loading import load_inpainter
from augsynth.training import loop
from augsynth.training.lora.options import LoraTraining, check_base
from tests.tiny_families import build_sd, build_sdxl, make_request, write_index
from tests.tiny_kills import check_every_kill
from tests.tiny_loras import FAMILIES, QUICK, tensors, train

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_lora_of_each_family_trains_and_loads_in_its_own_pipeline(folders, dataset, tmp_path, name):
    found = train(dataset, folders(name), tmp_path)
    assert found == tmp_path / "best"
    weights = tensors(tmp_path / "last")
    assert {key.split(".")[0] for key in weights} == {"unet"}
    layers = {key.rsplit(".lora", 1)[0].split(".attn")[1].split(".", 1)[1] for key in weights}
    assert layers == {"to_q", "to_k", "to_v", "to_out.0"}
    assert all(float(v.abs().max()) > 0 for key, v in weights.items() if "lora_B" in key or "lora.up" in key)
    large = name.startswith("sdxl")
    pipeline = (build_sdxl if large else build_sd)(**FAMILIES[name][1])
    pipeline.load_lora_weights(tmp_path / "last", adapter_name="mine")
    assert pipeline.get_active_adapters() == ["mine"]
    scales = [m.scaling["mine"] for m in pipeline.unet.modules() if "mine" in getattr(m, "scaling", {})]
    assert len(scales) == len(weights) // 2 and set(scales) == {1.0}
    request = make_request(1)
    options = {"steps": 2, "guidance": 3.0}
    bare, adapted = (
        load_inpainter(str(folders(name)), lora=lora, **options).sample_latents([request]).numpy()
        for lora in (None, str(tmp_path / "last"))
    )
    assert np.abs(bare - adapted).max() > 1e-3
    assert np.isfinite(adapted).all()


def test_the_folder_says_what_it_is_for(folders, dataset, tmp_path):
    from augsynth.inpainting.checkpoints import read_licence

    base = tmp_path / "base"
    shutil.copytree(folders("sd 9"), base)
    (base / "README.md").write_text("---\nlicense: openrail++\n---\n")
    train(dataset, base, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "last" / "lora.json").read_text())
    assert facts["base_model"] == str(base)
    assert facts["categories"] == ["bottle", "can"]
    assert (facts["licence"], facts["step"], facts["rank"]) == ("openrail++", 4, 2)
    assert facts["held_out_loss"] > 0
    assert read_licence(str(tmp_path / "out" / "last")) == "openrail++"
    best = json.loads((tmp_path / "out" / "best" / "lora.json").read_text())
    assert best["held_out_loss"] <= facts["held_out_loss"]
    assert list((tmp_path / "out" / "training").glob("samples-*.png"))


class Stop(Exception):
    pass


LONGER = {"num_windows": 70, "accumulate": 2, "samples": 0}


@pytest.fixture(scope="module")
def whole(folders, dataset, tmp_path_factory):
    """What a training leaves that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    train(dataset, folders("sd 9"), out, **LONGER)
    return out


@pytest.mark.parametrize("stop", ["encoding", "step", "saving"])
def test_a_stopped_training_ends_as_if_it_had_not_been(folders, dataset, whole, tmp_path, monkeypatch, stop):
    clock = iter(range(0, 10**6, 2))  # progress is shown at most once a second
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))

    def progress(stage, step, steps, loss):
        if (stage, step) == {"encoding": ("encoding", 64), "step": ("LoRA", 3)}.get(stop):
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        if stop == "saving":
            patch.setattr(loop, "store", stop_in_second_call(loop.store))
        train(dataset, folders("sd 9"), tmp_path / "cut", progress, **LONGER)
    train(dataset, folders("sd 9"), tmp_path / "cut", **LONGER)
    for kind in ("last", "best"):
        expected, got = tensors(whole / kind), tensors(tmp_path / "cut" / kind)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
        facts = [json.loads((run / kind / "lora.json").read_text()) for run in (whole, tmp_path / "cut")]
        assert facts[0] == facts[1]


TWICE = """
import sys
from augsynth import cli

for steps in ("2", "4"):
    sys.argv = ["augsynth", *COMMAND, "--lora-steps", steps]
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


def test_two_processes_train_what_one_does_with_two_batches_a_step(folders, dataset, tmp_path):
    """Stopped half-way, too; the first process alone speaks and writes."""
    folder, rate = folders("sd 9"), {"lr_schedule": "constant", "num_windows": 80}
    train(dataset, folder, tmp_path / "one", accumulate=2, **rate)
    data = ["--annotations", dataset.source, "--images", dataset.image_root, "--out", tmp_path / "two"]
    options = [
        f"--{key.replace('_', '-')}={getattr(QUICK, key)}"
        for key in (
            "lora_rank", "lora_batch_size", "lora_lr", "warmup", "precision", "samples", "save_every",
            "held_out_share",
        )
    ]  # fmt: skip
    options += [f"--categories={name}" for name in QUICK.categories]
    options += [f"--{key.replace('_', '-')}={value}" for key, value in rate.items()]
    words = [str(word) for word in ("train-lora", "--model", folder, *data, *options)]
    program = (
        tmp_path / "twice.py"
    )  # one start of the processes for both trainings: most of the time is imports
    program.write_text(TWICE.replace("COMMAND", repr(words)), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("LoRA 2/2") == ended.stderr.count("LoRA 4/4") == 1
    assert ended.stdout.count("use it with") == 2
    one, two = (tensors(tmp_path / name / "last") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.allclose(value, two[key], atol=1e-5), key


def test_bfloat16_and_a_constant_rate(folders, dataset, tmp_path):
    train(dataset, folders("sd 9"), tmp_path, precision="bfloat16", lr_schedule="constant", held_out_share=0)
    assert not (tmp_path / "best").exists()
    weights = tensors(tmp_path / "last")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights.values())


def test_another_training_is_not_continued(folders, dataset, tmp_path):
    train(dataset, folders("sd 4"), tmp_path, samples=0)
    train(dataset, folders("sd 4"), tmp_path, samples=0, lora_steps=6)  # longer is the same training
    assert json.loads((tmp_path / "last" / "lora.json").read_text())["step"] == 6
    with pytest.raises(ResumeError, match="--out"):
        train(dataset, folders("sd 4"), tmp_path, seed=7)
    with pytest.raises(ResumeError, match="--out"):
        train(dataset, folders("sd 9"), tmp_path)


def test_what_cannot_be_trained_is_refused_before_work_starts(folders, dataset, tmp_path, monkeypatch):
    flux = write_index(tmp_path / "flux", _class_name="FluxFillPipeline")
    with pytest.raises(BackendError, match=r"FluxFillPipeline.*Stable Diffusion"):
        check_base(LoraTraining(model=str(flux)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackendError, match=r"empty: no model_index\.json"):
        check_base(LoraTraining(model=str(tmp_path / "empty")))
    few = tmp_path / "few"
    build_sd(scheduler="LCMScheduler").save_pretrained(few)
    with pytest.raises(BackendError, match="few-step"):
        train(dataset, few, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match="pip install 'peft"):
        check_base(LoraTraining(model=str(folders("sd 9"))))


def test_from_the_command_line_to_generate(dataset, tmp_path, monkeypatch, capsys):
    """The embedded model is a checkpoint like others; what goes wrong is one line."""
    data = ["--annotations", str(dataset.source), "--images", str(dataset.image_root)]

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["augsynth", "train-lora", *data, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code or 0, " ".join(shown.out.split()), shown.err.strip().splitlines()

    out = tmp_path / "lora"
    quick = ["--lora-steps", 2, "--lora-batch-size", 2, "--num-windows", 24, "--samples", 1]
    code, said, _ = run("--out", out, "--model", "embedded", "--categories", "can", *quick)
    assert code == 0
    assert f"--model embedded --lora {out}" in said
    assert load_inpainter("embedded", steps=2, lora=str(out / "last")).size == 64
    strange = write_index(tmp_path / "strange", _class_name="FluxFillPipeline")
    for words, says in (
        (["--model", "embedded", "--lora-rank", 0], "lora_rank"),
        (["--model", "embedded", "--preset", "small-64"], "--preset"),
        (["--model", tmp_path], "model_index.json"),
        (["--model", strange], "Stable Diffusion"),
        (["--model", "embedded", "--categories", "cann"], "'can'"),
        (["--model", "embedded", "--out", out, "--seed", 7], "--out"),
    ):
        code, _, lines = run("--out", tmp_path / "wrong", *words)
        assert code == 2
        assert says in lines[-1]
    assert not (tmp_path / "wrong").exists()


def stop_in_second_call(save):
    calls = []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        save(*arguments)

    return stopping


def test_a_training_that_was_killed_at_any_write_ends_with_the_same_bytes(
    folders, dataset, tmp_path, monkeypatch
):
    base = folders("sd 9")

    def run(folder):
        train(dataset, base, folder / "out", lora_steps=2, save_every=1, num_windows=8)

    check_every_kill(run, tmp_path, monkeypatch, results=["out/best/", "out/last/"], most=3)


def test_a_foreign_folder_is_refused_before_any_work(folders, dataset, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        train(dataset, folders("sd 9"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
