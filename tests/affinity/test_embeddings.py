"""Embeddings of category names from files and from text encoders."""

import json
from pathlib import Path

import numpy as np
import pytest

from augsynth.affinity.embeddings import Embeddings, encode_names, read_embeddings
from augsynth.affinity.model import Affinity
from augsynth.core.errors import BackendError, ConfigError
from tests.affinity.tiny_data import DATA, NAMES, VECTORS

CLIP_TEXT = DATA / "clip_text" / "coco_clip_a+cname.npy"
COCO_MINI = DATA / "coco_mini" / "instances.json"


def test_cosines_by_hand_whatever_the_length() -> None:
    cosines = Embeddings(VECTORS * [[1], [1e-200], [7], [1e200]]).cosines
    lengths = np.sqrt((VECTORS**2).sum(1))
    np.testing.assert_allclose(cosines, VECTORS @ VECTORS.T / np.outer(lengths, lengths), atol=1e-12)
    assert (cosines == cosines.T).all()
    assert (cosines.diagonal() == 1).all()


@pytest.mark.parametrize("vectors", [np.zeros((2, 3)), np.ones(3), np.array([[1, np.nan]]), np.ones((0, 3))])
def test_vectors_that_have_no_direction(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="embedding"):
        Embeddings(vectors)


def test_embeddings_from_every_kind_of_file(tmp_path: Path) -> None:
    by_name = {name.upper(): row for name, row in zip(NAMES[::-1], VECTORS[::-1], strict=True)}
    by_name["extra"] = VECTORS[0]
    np.save(tmp_path / "e.npy", VECTORS.astype(np.float16))
    np.savez(tmp_path / "e.npz", **by_name)
    (tmp_path / "e.json").write_text(json.dumps({k: v.tolist() for k, v in by_name.items()}))
    for name in ("e.npy", "e.npz", "e.json"):
        found = read_embeddings(tmp_path / name, NAMES)
        np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-3)
        assert found.origin.startswith(f"{name} (sha256 ")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.npy", b"", "no embeddings"),
        ("e.npy", VECTORS[:3], "3 rows for 4 categories"),
        ("e.npy", VECTORS * 0, "zero"),
        ("e.npy", VECTORS * np.nan, "finite"),
        ("e.npy", np.array([{"cup": 1}]), "no embeddings"),
        ("e.npz", b"PK", "no embeddings"),
        ("e.json", b"{", "no embeddings"),
        ("e.json", b"[[1, 2]]", "a vector a category name"),
        ("e.json", b'{"cup": [1, 2]}', "no embedding of lid, shoe, hat"),
        ("e.json", b'{"cup": [1], "lid": [1], "shoe": [1, 2], "hat": [1]}', "no embeddings"),
        ("e.json", b'{"cup": ["x"], "lid": [1], "shoe": [1], "hat": [1]}', "no embeddings"),
        ("e.txt", b"1 2 3", ".npz, .json"),
    ],
)
def test_files_without_embeddings(tmp_path: Path, name: str, content, says: str) -> None:
    if isinstance(content, np.ndarray):
        np.save(tmp_path / name, content, allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name) as error:
        read_embeddings(tmp_path / name, NAMES)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_diffusers_checkpoint_embeds_names(tiny_checkpoint: Path) -> None:
    found = encode_names(str(tiny_checkpoint), ["can", "bottle", "Flasche", "can"], title="tiny")
    assert found.origin == "tiny"
    cosines = found.cosines
    assert cosines[0, 3] == pytest.approx(1)
    assert cosines[0, 1] < 0.9999
    assert found.vectors.shape == (4, found.vectors.shape[1])


def test_a_clip_model_gives_the_projected_text(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig

    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint, subfolder="tokenizer")
    text = CLIPTextConfig.from_pretrained(tiny_checkpoint, subfolder="text_encoder")
    torch.manual_seed(1)
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    parts = text.to_dict() | {"projection_dim": 12}
    sizes = {"image_size": 32, "patch_size": 16, "projection_dim": 12}
    model = CLIPModel(CLIPConfig(text_config=parts, vision_config=vision | sizes, projection_dim=12)).eval()
    model.save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    found = encode_names(str(tmp_path / "clip"), ["can", "bottle"])
    tokens = tokenizer(["a can", "a bottle"], padding="max_length", return_tensors="pt")
    with torch.no_grad():
        wanted = model.get_text_features(**tokens)
    wanted = getattr(wanted, "pooler_output", wanted).numpy()
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-5)


def test_checkpoints_that_cannot_embed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "t5", "architectures": ["T5EncoderModel"]}')
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "clip", "architectures": ["CLIPModel"]}')
    (tmp_path / "file").write_text("x")
    for model, says in (
        ("empty", "neither a CLIP model"),
        ("t5", "t5 model, not CLIP"),
        ("bare", "safetensors"),
        ("file", "neither a CLIP model"),
        ("gone", "no such folder"),
    ):
        with pytest.raises(BackendError, match=model) as error:
            encode_names(str(tmp_path / model), ["can"])
        assert says in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.skipif(not CLIP_TEXT.exists(), reason="the CLIP embeddings of shared/data aren't here")
def test_fork_belongs_with_knife_and_spoon() -> None:
    from augsynth.coco.reader import read_dataset

    coco = read_dataset(COCO_MINI)
    names = [category.name for category in coco.categories]
    affinity = Affinity.fit(coco, source="clip", embeddings=read_embeddings(CLIP_TEXT, names))
    fork = coco.categories[names.index("fork")].id
    chances = affinity.probabilities([fork])
    nearest = [affinity.names[i] for i in np.argsort(-chances)[:3]]
    assert nearest[0] == "fork"
    assert set(nearest[1:]) == {"knife", "spoon"}
