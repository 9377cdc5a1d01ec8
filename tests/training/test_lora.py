"""LoRAs of tiny random checkpoints: what is trained, resuming, the folder, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from augsynth import cli
from augsynth.core.devices import Process
from augsynth.core.errors import BackendError, ConfigError, ResumeError
from augsynth.core.images import read_image
from augsynth.core.scene import Category, Dataset, Scene
from augsynth.inpainting.loading import load_inpainter
from augsynth.training import loop
from augsynth.training.lora.data import hold_out, open_book
from augsynth.training.lora.latents import cache_latents, encode_texts
from augsynth.training.lora.objective import Draw, Objective, Pools
from augsynth.training.lora.options import LoraTraining, check_base, check_kind
from augsynth.training.lora.train import add_adapters, load_base, train_lora
from augsynth.training.windows import WindowRules, cut_windows
from tests.tiny_families import PROMPTS, build_sd, build_sdxl, make_request, write_index

FAMILIES = {
    "sd 9": (build_sd, {}),
    "sd 9 v": (build_sd, {"prediction": "v_prediction"}),
    "sd 4": (build_sd, {"channels": 4}),
    "sdxl 9": (build_sdxl, {}),
    "sdxl 4": (build_sdxl, {"channels": 4}),
}
QUICK = LoraTraining(
    lora_rank=2, lora_steps=4, lora_batch_size=2, lora_lr=1e-2, warmup=0, num_windows=24, precision="float32",
    categories=("can", "bottle"), samples=1, save_every=2,
    held_out_share=0.3,
)  # fmt: skip


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Checkpoints of the families as folders, each written when it is first asked for."""
    root = tmp_path_factory.mktemp("families")

    def get(name):
        folder = root / name.replace(" ", "-")
        if not folder.exists():
            build, options = FAMILIES[name]
            build(**options).save_pretrained(folder)
        return folder

    return get


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from augsynth.coco.reader import read_dataset
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("sample")
    return read_dataset(write_sample(root, num_images=16, seed=3, workers=1), images=root / "images")


def ignore(stage, step, steps, loss):
    pass


def train(dataset, folder, out, progress=ignore, **options):
    training = replace(QUICK, model=str(folder), **options)
    return train_lora(
        dataset,
        partial(read_image, dataset),
        training=training,
        checkpoint=check_base(training),
        out=out,
        progress=progress,
    )


def tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "pytorch_lora_weights.safetensors")


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


@pytest.mark.parametrize("stop", ["encoding", "step", "saving"])
def test_a_stopped_training_ends_as_if_it_had_not_been(folders, dataset, tmp_path, monkeypatch, stop):
    clock = iter(range(0, 10**6, 2))  # progress is shown at most once a second
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    options = {"num_windows": 70, "accumulate": 2, "samples": 0}
    train(dataset, folders("sd 9"), tmp_path / "whole", **options)

    def progress(stage, step, steps, loss):
        if (stage, step) == {"encoding": ("encoding", 64), "step": ("LoRA", 3)}.get(stop):
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        if stop == "saving":
            patch.setattr(loop, "_save", stop_in_second_save(loop._save))
        train(dataset, folders("sd 9"), tmp_path / "cut", progress, **options)
    train(dataset, folders("sd 9"), tmp_path / "cut", **options)
    for kind in ("last", "best"):
        expected, got = tensors(tmp_path / "whole" / kind), tensors(tmp_path / "cut" / kind)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
        facts = [json.loads((tmp_path / run / kind / "lora.json").read_text()) for run in ("whole", "cut")]
        assert facts[0] == facts[1]


def test_two_processes_train_what_one_does_with_two_batches_a_step(folders, dataset, tmp_path):
    """Stopped half-way, too; the first process alone speaks and writes."""
    folder, rate = folders("sd 9"), {"lr_schedule": "constant", "num_windows": 80}
    train(dataset, folder, tmp_path / "one", accumulate=2, **rate)

    def launch(*words):
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
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += ["-m", "augsynth", "finetune", *data, *options, *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, env=environment, check=False
        )

    for steps in (2, 4):
        ended = launch("--model", folder, "--lora-steps", steps)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count(f"LoRA {steps}/{steps}") == ended.stdout.count("use it with") == 1
    one, two = (tensors(tmp_path / name / "last") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.allclose(value, two[key], atol=1e-5), key


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    assert Process.current().device("cuda:1") == "cuda:1"
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    process = Process.current()
    assert (process.rank, process.device("cuda"), process.device("cpu")) == (3, "cuda:1", "cpu")
    with pytest.raises(ConfigError, match=r"one GPU for 4 processes; say cuda"):
        process.device("cuda:0")


def stop_in_second_save(save):
    calls = []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        save(*arguments)

    return stopping


def objective_of(folder, dataset, tmp_path, *, count=16, **options):
    training = replace(QUICK, model=str(folder), **options)
    painter = load_base(training)
    rules = WindowRules(painter.size, painter.cell, count)
    latents = cache_latents(
        dataset, partial(read_image, dataset), painter, rules=rules, seed=1, folder=tmp_path, progress=ignore
    )
    texts = encode_texts(painter, [PROMPTS[k % 2] for k in range(len(latents))])
    objective = Objective(
        painter.unet, painter.scheduler, latents, texts, plain=painter.plain, snr_gamma=training.snr_gamma,
        device="cpu",
    )  # fmt: skip
    return training, painter, objective, Pools.of(latents, texts, np.arange(1, 14))


@pytest.mark.parametrize("name", ["sd 9", "sd 4", "sdxl 9"])
def test_one_window_is_overfitted_by_the_adapters_alone(folders, dataset, tmp_path, name):
    training, painter, objective, pools = objective_of(folders(name), dataset, tmp_path)
    before = {key: value.clone() for key, value in painter.unet.state_dict().items()}
    parts = (painter.vae, *(encoder for _, encoder in painter.conditioner.encoders))
    others = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
    parameters = add_adapters(painter.unet, replace(training, lora_rank=8), name=name)
    trained = {key for key, value in painter.unet.named_parameters() if value.requires_grad}
    assert trained and all(".lora_" in key for key in trained)
    same = np.repeat(pools.own[:1], 4)
    draw = Draw(same, pools.text_rows[same], np.array([100, 350, 600, 850]), np.zeros(4, bool), 5)
    optimizer = torch.optim.AdamW(parameters.parameters(), lr=2e-2)
    losses = []
    for _ in range(40):
        loss = objective.loss(draw)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
    after = painter.unet.state_dict()
    for key, value in before.items():
        there = after[key] if key in after else after[key.replace(".weight", ".base_layer.weight").replace(
            ".bias", ".base_layer.bias")]  # fmt: skip
        assert torch.equal(there, value), key
    for part, kept in zip(parts, others, strict=True):
        assert all(torch.equal(part.state_dict()[key], value) for key, value in kept.items())


def test_the_prior_is_the_frozen_models_own_prediction(folders, dataset, tmp_path):
    training, painter, objective, pools = objective_of(folders("sd 9"), dataset, tmp_path)
    parameters = add_adapters(painter.unet, training, name="")
    picks = pools.own[:3]
    draw = Draw(picks, np.zeros(3, np.int64), np.array([10, 500, 990]), np.ones(3, bool), 5)
    with torch.no_grad():
        assert float(objective.loss(draw)) == 0, "new adapters change nothing"
        assert float(objective.loss(replace(draw, is_prior=np.zeros(3, bool)))) > 0.1
        for parameter in parameters:
            parameter.add_(0.3)
    loss = objective.loss(draw)
    assert float(loss.detach()) > 0
    loss.backward()
    assert all(parameter.grad is not None for parameter in parameters)


def test_a_batch_holds_what_it_should(folders, dataset, tmp_path):
    _, _, _, pools = objective_of(folders("sd 9"), dataset, tmp_path, count=60)
    assert len(pools.own) and len(pools.other)
    draw = pools.draw(4000, prior_share=0.25, seed=1, batch=7)
    again = pools.draw(4000, prior_share=0.25, seed=1, batch=7)
    assert np.array_equal(draw.picks, again.picks) and draw.noise_seed == again.noise_seed
    assert draw.noise_seed != pools.draw(4, prior_share=0.25, seed=1, batch=8).noise_seed
    assert 0.22 < draw.is_prior.mean() < 0.28
    learnt = ~draw.is_prior
    assert np.isin(draw.picks[learnt], pools.own).all()
    assert (draw.texts[learnt] == pools.text_rows[draw.picks[learnt]]).all()
    assert not len(pools.kept_rows), "objects to learn have both texts"
    assert 0.4 < (draw.texts[draw.is_prior] == 0).mean() < 0.6
    spoken = draw.is_prior & (draw.texts > 0)
    assert np.isin(draw.picks[spoken], pools.other).all()
    assert not pools.draw(100, prior_share=0.0, seed=1, batch=0).is_prior.any()
    alone = replace(pools, other=np.zeros(0, np.int64)).draw(400, prior_share=0.5, seed=1, batch=0)
    assert (alone.texts[alone.is_prior] == 0).all() and alone.is_prior.any()


def test_texts_of_categories_that_no_image_shows_are_preserved_too(folders, dataset, tmp_path):
    _, painter, objective, pools = objective_of(folders("sd 9"), dataset, tmp_path, count=60)
    labels = objective.latents.labels
    texts = encode_texts(painter, [PROMPTS[k % 2] for k in labels > 0], further=["a trumpet"])
    pools = Pools.of(objective.latents, texts, np.arange(1, 14))
    unshown = [row for row in range(1, 4) if row not in texts.of_window]
    assert len(unshown) == 1
    assert pools.kept_rows.tolist() == sorted({*unshown, *texts.of_window[labels == 0].tolist()})
    draw = pools.draw(4000, prior_share=0.5, seed=1, batch=7)
    assert set(draw.texts[~draw.is_prior].tolist()) == set(texts.of_window[labels > 0].tolist())
    heard = draw.is_prior & (draw.texts == unshown[0])
    assert 0.1 < heard.sum() / draw.is_prior.sum() < 0.25
    assert set(draw.picks[heard].tolist()) == set(range(60)), "whatever a window shows"


def test_chosen_categories_get_most_of_the_windows(dataset):
    rules = WindowRules(32, 2, 200, background_share=0.0, favoured_ids=(2,))
    labels = cut_windows(dataset, partial(read_image, dataset), rules=rules, seed=1).labels
    assert 0.5 < (labels == 2).mean() < 0.7
    assert len(set(labels.tolist())) > 5


def test_min_snr_clips_what_has_little_noise(folders, dataset, tmp_path):
    _, painter, objective, _ = objective_of(folders("sd 9"), dataset, tmp_path)
    steps = torch.tensor([0, 400, 999])
    assert objective._emphasis(steps).tolist() == [1, 1, 1]
    weights = replace(objective, snr_gamma=5.0)._emphasis(steps)
    alpha = painter.scheduler.alphas_cumprod[steps]
    assert weights.tolist() == pytest.approx(torch.clamp(5 * (1 - alpha) / alpha, max=1).tolist(), rel=1e-4)
    assert weights[0] < 0.05 and weights[2] == 1


def test_gradient_checkpointing_gives_the_same_gradients(folders, dataset, tmp_path):
    found = []
    for option in (False, True):
        training, painter, objective, pools = objective_of(
            folders("sdxl 9"), dataset, tmp_path, gradient_checkpointing=option
        )
        parameters = add_adapters(painter.unet, training, name="")
        objective.loss(pools.draw(3, prior_share=0.5, seed=3, batch=0)).backward()
        found.append([parameter.grad.clone() for parameter in parameters])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))
    assert any(float(gradient.abs().max()) > 0 for gradient in found[0])


def test_bfloat16_and_a_constant_rate(folders, dataset, tmp_path):
    train(dataset, folders("sd 9"), tmp_path, precision="bfloat16", lr_schedule="constant", held_out_share=0)
    assert not (tmp_path / "best").exists()
    weights = tensors(tmp_path / "last")
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights.values())
    schedule = loop.Schedule(steps=100, lr=1.0, warmup=10, falls=False)
    assert [schedule.lr_at(k) for k in (0, 9, 99)] == pytest.approx([0.1, 1, 1])


def test_another_training_is_not_continued(folders, dataset, tmp_path):
    train(dataset, folders("sd 4"), tmp_path, samples=0)
    train(dataset, folders("sd 4"), tmp_path, samples=0, lora_steps=6)  # longer is the same training
    assert json.loads((tmp_path / "last" / "lora.json").read_text())["step"] == 6
    with pytest.raises(ResumeError, match="--out"):
        train(dataset, folders("sd 4"), tmp_path, seed=7)
    with pytest.raises(ResumeError, match="--out"):
        train(dataset, folders("sd 9"), tmp_path)


def test_of_every_category_images_stay():
    boxes = np.array([[1.0, 1, 9, 9]])
    scenes = tuple(
        Scene(
            i, f"{i}.png", (32, 32), boxes, np.array([1 if i < 18 else 2]), np.array([i]), np.array([False])
        )
        for i in range(20)
    )
    data = Dataset((Category(1, "can"), Category(2, "jar")), scenes, {}, Path("a.json"))
    kept, held = hold_out(data, data.categories, share=0.3, seed=1)
    assert len(held.scenes) == 6 and len(kept.scenes) == 14
    assert sum(s.category_ids[0] == 2 for s in kept.scenes) == 2
    assert {s.image_id for s in kept.scenes}.isdisjoint(s.image_id for s in held.scenes)
    few = replace(data, scenes=scenes[:8])
    assert hold_out(few, data.categories, share=0.1, seed=1) == (few, None)


def test_prompts_are_those_of_generate(tmp_path):
    words = tmp_path / "words.yaml"
    words.write_text("can: [drinks can, beer can]\n")
    categories = (Category(1, "can"), Category(2, "Can"), Category(3, "jar"))
    with pytest.raises(ConfigError, match="no prompt tells them apart"):
        open_book(LoraTraining(), categories)
    assert (
        open_book(LoraTraining(categories=("Can", "jar")), categories).prompt(3, seed=0) == "a photo of a jar"
    )
    book = open_book(LoraTraining(prompts=str(words), template="one {category}"), categories)
    assert {book.prompt(1, seed=k) for k in range(20)} == {"one drinks can", "one beer can"}
    with pytest.raises(ConfigError, match=r"'jaar' is no category.*'jar'"):
        open_book(LoraTraining(categories=("jaar",)), categories)


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"lora_rank": 0}, {"lora_lr": 0.0}, {"lora_lr": 2.0}, {"lr_schedule": "linear"}, {"precision": "float16"},
        {"prior_share": 1.0}, {"snr_gamma": -1.0}, {"held_out_share": 0.9}, {"template": "a photo"},
    ],
)  # fmt: skip
def test_options_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LoraTraining(**wrong)


def test_options_of_the_other_kind_of_training_are_refused():
    check_kind(["seed", "lora_rank", "num_windows"], has_model=True)
    check_kind(["seed", "preset", "template"], has_model=False)
    with pytest.raises(ConfigError, match="--preset is for a training from scratch"):
        check_kind(["preset"], has_model=True)
    with pytest.raises(ConfigError, match=r"--lora-rank is for a LoRA.*--model"):
        check_kind(["lora_rank"], has_model=False)


def test_from_the_command_line_to_generate(dataset, tmp_path, monkeypatch, capsys):
    """The embedded model is a checkpoint like others; what goes wrong is one line."""
    data = ["--annotations", str(dataset.source), "--images", str(dataset.image_root)]

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["augsynth", "finetune", *data, *map(str, words)])
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
        (["--model", "embedded", "--lora-rank", 0], "--lora-rank"),
        (["--lora-rank", 4], "--model"),
        (["--model", "embedded", "--preset", "small-64"], "--preset"),
        (["--model", tmp_path], "model_index.json"),
        (["--model", strange], "Stable Diffusion"),
        (["--model", "embedded", "--categories", "cann"], "'can'"),
        (["--model", "embedded", "--out", out, "--seed", 7], "--out"),
    ):
        code, _, lines = run("--out", tmp_path / "wrong", *words)
        assert (code, len(lines)) == (2, 1)
        assert says in lines[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, lines = run("--out", tmp_path / "wrong")
    assert (code, len(lines)) == (2, 1)
    assert "one process" in lines[0]
    assert not (tmp_path / "wrong").exists()


def test_a_category_held_out_of_a_base_is_nowhere_in_it(dataset):
    from benchmarks.studies.novel_category import few_images, without_category

    rest = without_category(dataset.document, "can")
    can = next(c.id for c in dataset.categories if c.name == "can")
    assert "can" not in {c["name"] for c in rest["categories"]}
    assert all(a["category_id"] != can for a in rest["annotations"])
    showing = {a["image_id"] for a in dataset.document["annotations"] if a["category_id"] == can}
    assert {i["id"] for i in rest["images"]} == {i["id"] for i in dataset.document["images"]} - showing
    few = few_images(dataset.document, "can", 2)
    assert len(few["images"]) == 2 and {i["id"] for i in few["images"]} <= showing
    assert {a["image_id"] for a in few["annotations"]} == {i["id"] for i in few["images"]}
    with pytest.raises(SystemExit, match="fewer --shots"):
        few_images(dataset.document, "can", 99)
