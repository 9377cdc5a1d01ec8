"""What names a model: a folder that is there, or a hub id; everything else is told at once."""

from functools import partial
from pathlib import Path

import pytest

from augsynth.core import hub
from augsynth.core.errors import BackendError
from augsynth.core.hub import ModelSource, fetch_file, find_model, first_line, is_hub_id, load_part

ADVICE = "pass a folder"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[str]:
    """A hub that can't be reached; returns the addresses that were tried."""
    import huggingface_hub

    tried: list[str] = []

    class Session:
        def head(self, url: str, *, timeout: float) -> None:
            assert timeout <= 5
            tried.append(url)
            raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.hub_is_reachable.cache_clear()
    request.addfinalizer(hub.hub_is_reachable.cache_clear)
    return tried


def test_what_is_there_is_local_and_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "weights.safetensors").write_text("")
    for name in ("owner/name", "owner", "weights.safetensors", str(tmp_path)):
        source = find_model(name, revision="v1", advice=ADVICE)
        assert source == ModelSource(name, Path(name)) and source.title == name
        assert source.place == name and not source.options()


@pytest.mark.parametrize(
    "name", ["facebook/detr-resnet-50", "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"]
)
def test_owner_and_name_are_a_hub_id(name: str) -> None:
    assert is_hub_id(name)
    assert find_model(name, revision="v1", advice=ADVICE).title == f"{name}@v1"


@pytest.mark.parametrize(
    "name",
    [
        "detector",
        "./detector",
        "../detector",
        "~/detector",
        "/nowhere/detector",
        "runs/detector",
        "a/b/c",
        "owner/weights.pth",
        "owner/lora.safetensors",
        "owner/config.py",
        "owner/two--hyphens",
        "owner/with space",
        "out\\detector",
        "",
    ],
)
def test_a_misspelt_path_is_no_hub_id(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    if name:
        with pytest.raises(BackendError, match=r"no such folder.*pass a folder") as error:
            find_model(name, advice=ADVICE)
        assert "\n" not in str(error.value) and str(error.value).startswith(name)
    assert not is_hub_id(name) and not no_network


def test_a_folder_that_is_spelt_alike_is_named(tmp_path: Path) -> None:
    (tmp_path / "my-detector").mkdir()
    (tmp_path / "other").mkdir()
    with pytest.raises(BackendError, match=r"did you mean .*my-detector\?"):
        find_model(str(tmp_path / "my-detektor"), advice=ADVICE)
    with pytest.raises(BackendError) as error:
        find_model(str(tmp_path / "something"), advice=ADVICE)
    assert "did you mean" not in str(error.value)


def test_an_unreachable_hub_is_asked_once_and_then_only_the_cache(
    no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    asked: list[str] = []
    monkeypatch.setattr(
        "huggingface_hub.file_download.get_hf_file_metadata", lambda url, *rest, **more: asked.append(url)
    )
    source = find_model("nobody/no-such-model-in-any-cache", revision="v1", advice=ADVICE)
    assert source.options() == {"revision": "v1", "local_files_only": True}
    load = partial(hf_hub_download, filename="config.json")
    with pytest.raises(
        BackendError,
        match=r"^can't load the detector nobody/no-such.* from the hub, and no such folder is here: ",
    ) as part:
        load_part(source, load, what="detector", advice=ADVICE)
    with pytest.raises(
        BackendError, match="can't be fetched from the hub, and no such folder is here; pass a folder"
    ) as file:
        fetch_file(source, "model_index.json", advice=ADVICE, missing="pass another")
    assert "\n" not in str(part.value) + str(file.value)
    assert len(no_network) == 1 and not asked, "the client's own retries take 23 seconds a file"


def test_a_file_of_a_folder(tmp_path: Path) -> None:
    source = find_model(str(tmp_path), advice=ADVICE)
    with pytest.raises(BackendError, match=r"no model_index\.json in it; pass another"):
        fetch_file(source, "model_index.json", advice=ADVICE, missing="pass another")
    (tmp_path / "model_index.json").write_text("{}")
    assert fetch_file(source, "model_index.json", advice="", missing="").read_text() == "{}"


def test_failures_of_a_part_are_one_line(tmp_path: Path) -> None:
    def load(place: str, **options: object) -> None:
        assert (place, options) == (str(tmp_path), {"dtype": "float32"})
        raise RuntimeError("\n  the first line\nand a second")

    source = find_model(str(tmp_path), advice=ADVICE)
    with pytest.raises(BackendError, match=r"from the folder: the first line; pass a folder$"):
        load_part(source, load, what="detector", advice=ADVICE, dtype="float32")
    assert first_line(RuntimeError()) == "RuntimeError"
    assert len(first_line(RuntimeError("x" * 900))) == 200
