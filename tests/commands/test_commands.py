"""The command line: every mistake a user can make is one line that says what to do, with exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from augsynth import __version__


def own_data(dataset):
    return ["--annotations", dataset / "instances.json", "--images", dataset / "images"]


def complaint(result):
    """The single line of a run that was refused."""
    code, _, lines = result
    assert code == 2, lines
    assert [line.startswith("augsynth: ") for line in lines].count(True) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return lines[-1].removeprefix("augsynth: ")


def written(tmp_path, **values):
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_version_and_help(run):
    code, out, _ = run("--version")
    assert (code, out.strip()) == (0, __version__)
    code, out, _ = run("--help")
    assert code == 0
    assert all(
        name in out for name in ("generate", "build-affinity", "sample", "train-inpainter", "train-lora")
    )
    assert run() == (0, out, []), "a command that is given nothing says what there is"


def test_run_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "augsynth", "generate", "--seeed", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert result.returncode == 2
    assert result.stderr.strip().startswith("augsynth: No such option: --seeed")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["generate", "--seeed", "1"], "--seed"),
        (["generate", "--n", "many"], "--n"),
        (["generate", "--out"], "--out"),
        (["generat"], "generat"),
        (["build-affinity", "--out", "a.json"], "--annotations"),
        (["train-inpainter", "--images", "images", "--out", "m"], "--annotations"),
    ],
)
def test_usage_errors_name_the_option(run, words, says):
    assert says in complaint(run(*words))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"min_iuo": 0.5}, ["min_iuo", "did you mean min_iou"]),
        ({"steps": "many"}, ["steps", "whole number"]),
        ({"steps": 2.5}, ["steps", "whole number"]),
        ({"seed": True}, ["seed", "whole number"]),
        ({"n": 0}, ["n is 0", "[1,"]),
        ({"min_iou": 1.5}, ["min_iou", "[0, 1]"]),
        ({"originals": "symlink"}, ["originals", "hardlink, copy, omit"]),
        ({"mode": "swap"}, ["mode is 'swap'", "insert, replace, mix"]),
        ({"mode": 1}, ["mode", "a text"]),
        ({"replace_share": 1.2}, ["replace_share is 1.2", "[0, 1]"]),
        ({"replace_area": -1}, ["replace_area", "[0, 1]"]),
        ({"replace_affinity": "most"}, ["replace_affinity", "a number"]),
        ({"precision": "float8"}, ["precision", "float16"]),
        ({"alignment": "invert"}, ["alignment", "renoise, inversion, off"]),
        ({"category_choice": "random"}, ["category_choice is 'random'", "affinity, uniform"]),
        ({"placement": False}, ["placement", "a text"]),
        ({"placement": "random"}, ["placement is 'random'", "aligned, uniform"]),
        ({"filter": "none"}, ["filter is 'none'", "classifier, both, off"]),
        ({"filter": "both"}, ["filter is 'both'", "--classifier"]),
        ({"top_k": 0}, ["top_k"]),
        ({"filter": True}, ["filter", "a text"]),
        ({"template": "a photo"}, ["template", "{category}"]),
        ({"categories": "cup"}, ["categories", "list of names"]),
        ({"quotas": {"cup": -1}}, ["quotas", "counts"]),
        ({"device": "gpu"}, ["device", "gpu"]),
    ],
)
def test_wrong_options_stop_before_anything_is_read_or_written(run, tmp_path, values, says):
    line = complaint(run("generate", "--config", written(tmp_path, **values)))
    assert all(word in line for word in says), line
    assert [p.name for p in tmp_path.iterdir()] == ["options.yaml"]


def test_a_wrong_mode_on_the_command_line(run, tmp_path):
    assert "'insert', 'replace', 'mix'" in complaint(run("generate", "--mode", "swap"))
    assert not list(tmp_path.iterdir())


def test_flags_win_over_the_file(run, tmp_path):
    assert "n is -1" in complaint(run("generate", "--config", written(tmp_path, n=5), "--n", "-1"))


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n", "just words"])
def test_a_configuration_that_is_no_mapping(run, tmp_path, text):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    assert "options.yaml" in complaint(run("generate", "--config", path))


def test_images_need_annotations_and_are_looked_for_near_them(run, dataset, tmp_path):
    assert "images is given without annotations" in complaint(run("generate", "--images", dataset))
    (tmp_path / "alone.json").write_bytes((dataset / "instances.json").read_bytes())
    line = complaint(run("bank", "--annotations", "alone.json", "--out", "bank"))
    assert "alone.json: images '1.png' and the next ones aren't found near it; give --images" in line
    assert run("bank", "--annotations", dataset / "instances.json", "--out", "bank")[0] == 0


def test_missing_files_are_named(run, dataset, tmp_path):
    images = ["--images", dataset / "images"]
    for command in ("generate", "train-inpainter", "train-lora", "train-detector"):
        assert "gone.json" in complaint(run(command, "--annotations", "gone.json", *images, "--out", "out"))
        line = complaint(
            run(command, "--annotations", dataset / "instances.json", "--images", "gone", "--out", "out")
        )
        assert "gone" in line, command
    assert "gone.json" in complaint(run("build-affinity", "--annotations", "gone.json", "--out", "a.json"))
    assert "gone.yaml" in complaint(run("generate", "--config", "gone.yaml"))


def test_a_directory_of_someone_else_is_left_as_it_is(run, dataset, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    for words in (["generate"], ["generate", *own_data(dataset)], ["sample"]):
        line = complaint(run(*words, "--out", "mine"))
        assert "mine" in line
        assert "--out" in line
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    line = complaint(run("train-detector", *own_data(dataset), "--out", "mine"))
    assert "mine" in line
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "words"


def test_a_file_is_no_output_directory(run, dataset, tmp_path):
    (tmp_path / "taken").write_text("words")
    for words in (["generate"], ["generate", *own_data(dataset)], ["sample"]):
        assert "taken" in complaint(run(*words, "--out", "taken"))
    assert (tmp_path / "taken").read_text() == "words"


def test_unknown_categories_are_named_with_the_known_ones(run, dataset, tmp_path):
    for values in ({"categories": ["bottle"]}, {"quotas": {"bottle": 3}}):
        line = complaint(run("generate", *own_data(dataset), "--config", written(tmp_path, **values)))
        assert "bottle" in line
        assert "cup, lid" in line


@pytest.mark.parametrize("words", [["--measure", "pmi"], ["--kappa", "-1"]])
def test_build_affinity_refuses_wrong_options(run, dataset, tmp_path, words):
    line = complaint(
        run("build-affinity", "--annotations", dataset / "instances.json", "--out", "a.json", *words)
    )
    assert words[1].lstrip("-") in line
    assert not (tmp_path / "a.json").exists()


def test_build_affinity_writes_where_it_can_or_says_why_not(run, dataset):
    annotations = ["--annotations", dataset / "instances.json"]
    assert "a.txt" in complaint(run("build-affinity", *annotations, "--out", "a.txt"))
    code, _, _ = run("build-affinity", *annotations, "--out", "no/such/folder/a.json")
    assert code == 0 and Path("no/such/folder/a.json").is_file()
    Path("file").write_text("mine")
    assert "file" in complaint(run("build-affinity", *annotations, "--out", "file/a.json"))


def test_build_affinity_says_when_there_is_no_structure(run, dataset, tmp_path):
    code, out, err = run("build-affinity", "--annotations", dataset / "instances.json", "--out", "a.json")
    assert code == 0 and all("instances.json: " in line for line in err)
    assert "6 images, 12 objects, 2 categories" in out
    assert "structure" in out
    assert json.loads((tmp_path / "a.json").read_text())
    assert Image.open(tmp_path / "a.png").size[0] > 100


def test_build_affinity_reads_a_drawn_sample(run, tmp_path):
    code, out, _ = run("sample", "--out", "sample", "--num-images", "24", "--workers", "1")
    assert code == 0
    assert "24 scenes" in out
    annotations = tmp_path / "sample" / "annotations" / "instances.json"
    code, out, _ = run("build-affinity", "--annotations", annotations, "--out", "a.json", "--pairs", "3")
    assert code == 0
    assert "cup" in out


@pytest.mark.parametrize(
    ("command", "known"), [("train-inpainter", "small-64"), ("train-detector", "fcos_small")]
)
def test_unknown_presets_name_the_known_ones(run, dataset, tmp_path, command, known):
    line = complaint(run(command, *own_data(dataset), "--out", "out", "--preset", "huge"))
    assert "huge" in line
    assert known in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train-inpainter", ["--symmetry", "round"]),
        ("train-inpainter", ["--image-scale", "0"]),
        ("train-inpainter", ["--denoiser-steps", "0"]),
        ("train-inpainter", ["--autoencoder-batch-size", "0"]),
        ("train-inpainter", ["--num-windows", "0"]),
        ("train-inpainter", ["--device", "gpu"]),
        ("train-inpainter", ["--start", "gone"]),
        ("train-lora", ["--lora-rank", "0"]),
        ("train-lora", ["--preset", "small-64"]),
        ("train-inpainter", ["--lora-rank", "4"]),
        ("train-detector", ["--image-scale", "9"]),
        ("train-detector", ["--epochs", "0"]),
        ("train-detector", ["--lr", "-1"]),
        ("train-detector", ["--device", "gpu"]),
        ("train-detector", ["--threads", "0"]),
        ("train-detector", ["--val-images", "gone"]),
        ("sample", ["--num-images", "0"]),
    ],
)
def test_the_other_commands_refuse_wrong_options(run, dataset, tmp_path, command, words):
    data = [] if command == "sample" else own_data(dataset)
    line = complaint(run(command, *data, "--out", "out", *words))
    assert words[0] in line or words[0].lstrip("-").replace("-", "_") in line
    assert not (tmp_path / "out").exists()


def test_train_inpainter_refuses_categories_that_share_a_word(run, dataset, tmp_path):
    document = json.loads((dataset / "instances.json").read_text())
    for category, name in zip(document["categories"], ("tin_can", "Tin can"), strict=True):
        category["name"] = name
    (tmp_path / "same.json").write_text(json.dumps(document))
    data = ["--annotations", "same.json", "--images", dataset / "images"]
    line = complaint(run("train-inpainter", *data, "--out", "out"))
    assert "'tin_can'" in line
    assert "'Tin can'" in line
    assert "rename" in line
    assert not (tmp_path / "out").exists()


def test_a_hub_id_without_a_network_names_what_runs_offline(run, dataset, tmp_path):
    model = ["--model", "someone/some-inpainter"]
    line = complaint(run("generate", *own_data(dataset), *model, "--detector", "embedded", "--out", "a"))
    assert "someone/some-inpainter" in line or "embedded" in line
    line = complaint(run("generate", *own_data(dataset), "--out", "b"))
    assert "--detector" in line or "--model" in line
    assert "offline" in line or "without a network" in line


def test_folders_that_hold_no_model(run, dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    line = complaint(
        run("generate", *own_data(dataset), "--model", "empty", "--detector", "empty", "--out", "a")
    )
    assert "empty" in line


def test_a_run_is_not_continued_with_other_options(run, dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:  # as if it had been killed
        patch.setattr("augsynth.generation.run_folder.RunFolder._remove_new", lambda folder: None)
        complaint(run("generate", *own_data(dataset), "--model", "a/b", "--detector", "c/d", "--out", "out"))
    (tmp_path / "out" / "images").mkdir()
    (tmp_path / "out" / "images" / "painted.png").touch()
    words = ["--model", "a/b", "--detector", "c/d", "--out", "out", "--seed", "43"]
    line = complaint(run("generate", *own_data(dataset), *words))
    assert "seed" in line
    assert "--out" in line


def test_forked_processes_end_at_once_when_they_are_told_to() -> None:
    """SIGTERM is Ctrl-C for the command; a pool ends its processes with it, which mustn't print tracebacks."""
    code = """
import os, signal, sys
from augsynth.cli import main
sys.argv = ["augsynth", "--version"]
try:
    main()
except SystemExit:
    pass
assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
child = os.fork()
if not child:
    os._exit(signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
