"""The pages say what is there: their commands and Python run, their links lead somewhere, their messages exist."""

import ast
import re
import shlex

import pytest
import typer
import yaml

import augsynth
from augsynth.cli import app
from augsynth.core.scene import Category, Reason
from augsynth.generation.config import config_from
from augsynth.inpainting.prompts.file import read_words
from tests.docs.pages import (
    ALL_PAGES,
    BENCHMARKS,
    DEVELOPER_PAGES,
    ROOT,
    SITE,
    USER_PAGES,
    augsynth_lines,
    augsynth_words,
    fences,
    headings,
    links,
    name_of,
)

COMMANDS = typer.main.get_command(app).commands
SHELL = fences(*ALL_PAGES, language="bash")
LITTLE = {
    "sample": "--num-images 16 --workers 1",
    "export": "",
    "import": "",
    "build-affinity": "",
    "check": "",
    "bank": "",
    "split": "",
    "train-detector": "--preset fcos_tiny --steps 2 --mask-steps 2 --batch-size 2 --threads 1",
    "predict": "",
    "train-inpainter": "--preset tiny-32 --num-windows 24 --autoencoder-steps 2 --decoder-steps 2 --denoiser-steps 2 "
    "--save-every 2 --autoencoder-batch-size 4 --denoiser-batch-size 4 --threads 1",
    "generate": "--n 1 --max-attempts 2 --steps 2 --min-auc 0",
}
ORDER = list(LITTLE)
SHOWN_ONLY = {"train-lora", "finalize"}  # one needs public checkpoints, the other a file that a person made


@pytest.mark.parametrize(
    "line", sorted({line for _, line in augsynth_lines(SHELL)}), ids=lambda line: line[-60:]
)
def test_commands_parse(line):
    verb, *words = augsynth_words(line)
    with COMMANDS[verb].make_context(verb, words):
        pass


def test_every_command_is_shown_somewhere():
    assert {augsynth_words(line)[0] for _, line in augsynth_lines(SHELL)} == set(COMMANDS)


def test_what_is_not_run_says_why():
    for fence in fences(*USER_PAGES):
        if fence.language == "bash" and not (fence.reason_not_to_run or fence.is_run_elsewhere):
            lines = [line for line in fence.text.splitlines() if line.strip()]
            strange = [line for line in lines if augsynth_words(line) is None]
            assert not strange, (
                f"{fence.page}: mark the block of {strange[0]!r} with <!-- not run: REASON -->"
            )
        assert fence.mark == "" or fence.is_run_elsewhere or len(fence.reason_not_to_run) > 20, fence


def test_the_commands_of_the_pages_run_as_written(tmp_path, monkeypatch):
    """Run every line that isn't marked, each told to do very little."""
    monkeypatch.chdir(tmp_path)
    blocks = fences(*USER_PAGES, language="bash")
    shown = [b for b in blocks if not (b.reason_not_to_run or b.is_run_elsewhere)]
    lines = sorted(
        {line for _, line in augsynth_lines(shown)}, key=lambda line: ORDER.index(augsynth_words(line)[0])
    )
    assert {augsynth_words(line)[0] for line in lines} == set(COMMANDS) - SHOWN_ONLY == set(LITTLE)
    for line in lines:
        verb, *words = augsynth_words(line)
        app([verb, *words, *LITTLE[verb].split()], standalone_mode=False)
        if verb == "sample":
            made = tmp_path / "data" / "sample"
            (tmp_path / "data" / "images").symlink_to(made / "images")
            for part in ("train", "val", "test"):
                (tmp_path / "data" / f"{part}.json").symlink_to(made / "annotations" / "instances.json")
    run = tmp_path / "runs" / "mine"
    assert 1 <= len((run / "provenance.jsonl").read_text().splitlines()) <= 2
    listing = next(f.text for f in fences(ROOT / "docs" / "outputs.md") if f.text.startswith("runs/first/"))
    listed = {line.split()[0].rstrip("/") for line in listing.splitlines()[1:]}
    there = {path.relative_to(run).as_posix() for path in run.rglob("*")}
    assert listed - {"contact_sheet_accepted.png"} <= there, "outputs.md lists files that a run doesn't write"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder laid out as the pages say: data/train.json and data/images."""
    from augsynth.sample import write_sample

    root = tmp_path_factory.mktemp("pages")
    annotations = write_sample(root / "sample", num_images=40, workers=1)
    (root / "data").mkdir()
    (root / "data" / "images").symlink_to(root / "sample" / "images")
    (root / "data" / "train.json").symlink_to(annotations)
    return root


WITH_PYTHON = sorted({f.page for f in fences(*USER_PAGES, language="python") if not f.reason_not_to_run})


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_on_the_pages_runs(page, data, tmp_path, monkeypatch, capsys):
    """A page's blocks run one after the other, as in a notebook; generate is told to do little."""
    (tmp_path / "data").symlink_to(data / "data")
    monkeypatch.chdir(tmp_path)
    little = {
        "model": "embedded",
        "detector": "embedded",
        "n": 1,
        "steps": 4,
        "max_attempts": 60,
        "min_score": 0.05,
        "min_iou": 0.3,
    }
    generate = augsynth.generate
    monkeypatch.setattr(augsynth, "generate", lambda *given, **options: generate(*given, **options | little))
    names = {}
    for fence in fences(ROOT / page, language="python"):
        if not fence.reason_not_to_run:
            exec(compile(fence.text, page, "exec"), names)
    if page == "docs/check.md":
        assert names["found"].clean and (tmp_path / "check.html").is_file()
        assert (tmp_path / "data" / "clean" / "changes.json").is_file()
        return
    assert "accepted" in str(names["run"].summary) and names["run"].annotations.is_file()
    assert (tmp_path / "accepted.png").is_file()
    assert str(names["run"].annotations) in capsys.readouterr().out


def test_python_that_is_not_run_is_python():
    for fence in fences(*USER_PAGES, language="python"):
        ast.parse(fence.text)


def test_the_interface_is_described_whole():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)$", page, re.M))
    assert described == set(augsynth.__all__) - {"__version__"}


def test_files_in_the_pages_can_be_read(tmp_path):
    blocks = fences(*USER_PAGES, language="yaml")
    assert len(blocks) >= 3
    for fence in blocks:
        values = yaml.safe_load(fence.text)
        if fence.page == "docs/prompts.md" and "template" not in values:
            path = tmp_path / "words.yaml"
            path.write_text(fence.text, encoding="utf-8")
            words = read_words(path, [Category(k, name) for k, name in enumerate(values, start=1)])
            assert len(words) == len(values)
        else:
            config_from(values, source=fence.page)


@pytest.mark.parametrize("path", [*ALL_PAGES], ids=name_of)
def test_links_lead_somewhere(path):
    for target, anchor in links(path):
        there = path.parent / target if target else path
        assert there.exists(), target
        assert not anchor or anchor in headings(there), f"{target}#{anchor}"


def test_every_page_is_in_the_index_and_those_for_users_in_the_readme():
    listed = set(re.findall(r"^([a-z-]+)$", (ROOT / "docs" / "index.md").read_text("utf-8"), re.M))
    assert listed == {path.stem for path in SITE} - {"index"}
    linked = {target for target, _ in links(ROOT / "README.md")}
    own = {f"docs/{path.name}" for path in SITE} - {
        "docs/index.md",
        "docs/benchmarks.md",
        "docs/benchmarks-log.md",
    }
    assert own <= linked
    assert {name_of(path) for path in DEVELOPER_PAGES} <= linked


def source_text():
    """Return the text literals of the package, each run of adjacent ones joined as it is printed."""
    parts = []
    for path in sorted((ROOT / "augsynth").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                values = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                parts.append("".join(map(str, values)))
    return "\n".join(parts)


def tables(path):
    """Yield the cells of each row of a page's tables."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_messages_on_the_page_are_messages_of_the_package():
    text = source_text()
    known = {reason.value for reason in Reason}
    rows = [row for row in tables(ROOT / "docs" / "troubleshooting.md") if row[0].startswith("`")]
    quoted = [m for row in rows for m in re.findall(r"`([^`]+)`", row[0]) if m not in known]
    assert len(quoted) > 20
    for message in quoted:
        assert message in text, f"no module says {message!r}"


def test_every_reason_has_a_remedy():
    rows = {row[0].strip("`"): row for row in tables(ROOT / "docs" / "troubleshooting.md")}
    for reason in Reason:
        if reason is not Reason.ACCEPTED:
            assert len(rows[reason.value][2]) > 10, reason


def test_sections_that_docstrings_cite_are_there():
    numbered = set(re.findall(r"^## (\d+)\. ", (ROOT / "docs" / "method.md").read_text("utf-8"), re.M))
    cited = []
    for folder in ("augsynth", "benchmarks", "tests", "configs"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert path.name == "test_pages.py" or "METHOD" not in text, f"{path}: cite docs/method.md §n"
            cited += re.findall(r"docs/method\.md §(\d+)", text)
    assert len(cited) > 5
    assert set(cited) <= numbered


def test_words_that_the_pages_avoid():
    for path in USER_PAGES:
        text = path.read_text(encoding="utf-8")
        for word in ("passenger", "Who judges", "METHOD"):
            assert word not in text, f"{name_of(path)}: {word}"


def test_benchmark_pages_are_shown_on_the_site():
    conf = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    for path in BENCHMARKS:
        assert f'"{name_of(path)}"' in conf


def test_shell_blocks_are_plain():
    for fence in SHELL:
        for line in fence.text.splitlines():
            shlex.split(line, comments=True)
