"""What a command may write over: nothing that isn't its own, said before any work."""

from pathlib import Path

import pytest

from augsynth import cli
from augsynth.sample import write_sample


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("outputs") / "data", num_images=4, seed=3, workers=1)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command that must be refused in one line, before anything is read; return that line."""

    def call(*words: str | Path) -> str:
        monkeypatch.setattr("sys.argv", ["augsynth", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        found = capsys.readouterr()
        assert ended.value.code == 2
        assert not found.out
        (line,) = found.err.strip().splitlines()
        return line

    return call


def command(verb: str, annotations: Path, out: Path) -> tuple[str | Path, ...]:
    data = {
        "bank": ("--annotations", annotations, "--images", annotations.parents[1] / "images"),
        "split": ("--annotations", annotations),
        "sample": (),
    }
    return (verb, *data[verb], "--out", out)


@pytest.mark.parametrize("verb", ["bank", "split", "sample"])
def test_a_place_that_cannot_be_a_folder(annotations: Path, tmp_path: Path, refused, verb: str) -> None:
    before = annotations.read_bytes()
    (tmp_path / "notes.txt").write_text("mine")
    for out in (annotations, annotations / "x", Path("/proc/x"), tmp_path):
        assert refused(*command(verb, annotations, out)).startswith(f"augsynth: {out}: ")
    assert annotations.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("verb", ["bank", "split"])
def test_the_place_is_looked_at_before_the_data(tmp_path: Path, refused, verb: str) -> None:
    (tmp_path / "broken.json").write_text("[]")
    line = refused(*command(verb, tmp_path / "broken.json", tmp_path))
    assert "holds an input of this command" in line


def build(annotations: Path, out: Path) -> tuple[str | Path, ...]:
    return ("build-affinity", "--annotations", annotations, "--out", out)


@pytest.fixture
def train(annotations: Path, tmp_path: Path) -> Path:
    (tmp_path / "train.json").write_bytes(annotations.read_bytes())
    return tmp_path / "train.json"


def test_build_affinity_never_writes_over_what_is_not_its_own(train: Path, tmp_path: Path, refused) -> None:
    (tmp_path / "map.png").write_bytes(b"mine")
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(train)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for out, says in (
        (train, "is an input"),
        (tmp_path / "link.json", "is an input"),
        (tmp_path / "map.json", "map.png: is there already"),
        (tmp_path / "notes.json", "isn't an earlier output"),
        (train / "x.json", "isn't a folder"),
        (tmp_path, "end with .json"),
        (Path("/proc/x.json"), "can't be written"),
    ):
        assert says in refused(*build(train, out))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_build_affinity_makes_parents_and_replaces_its_own(train: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "new" / "folder" / "affinity.json"
    found = []
    for measure in ("npmi", "lift", "npmi"):
        monkeypatch.setattr("sys.argv", ["augsynth", *map(str, build(train, out)), "--measure", measure])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        found.append({path.name: path.read_bytes() for path in out.parent.iterdir()})
    assert {*found[0]} == {"affinity.json", "affinity.png"}
    assert found[0] == found[2] != found[1]
