import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augsynth.core.errors import BackendError, ConfigError
from augsynth.core.scene import Category, Detections, Image
from augsynth.detectors.folder import DetectorConfig, write_config, write_weights
from augsynth.detectors.loading import load_detector
from augsynth.detectors.port import match_categories
from augsynth.detectors.torchvision import resize_image
from augsynth.training.detector.evaluation import evaluate_detector
from tests.tiny_shapes import CATEGORIES, draw_shapes


def write_untrained(folder: Path, **changes) -> Path:
    import torch

    from augsynth.detectors.architectures import build_model

    folder.mkdir()
    config = replace(DetectorConfig("fcos_tiny", CATEGORIES, view_px=96), **changes)
    torch.manual_seed(0)
    network = build_model(config.preset, num_categories=len(config.categories))
    write_weights(folder, network.state_dict())
    write_config(folder, config)
    return folder


def test_trained_folder_detects_in_dataset_ids(trained, shapes):
    report, _ = trained
    dataset, images = shapes
    renumbered = (Category(100, "Bright-Bar"), Category(5, "dark square"))
    detector = load_detector(report.out, renumbered)
    found = detector.detect([images["0.png"], images["1.png"][:48]])
    assert [len(d) > 0 for d in found] == [True, True]
    assert set(np.concatenate([d.category_ids for d in found])) <= {100, 5}
    assert all((np.diff(d.scores) <= 0).all() for d in found)
    assert (found[1].boxes_xyxy[:, 3] <= 48).all()
    assert (
        evaluate_detector(
            load_detector(report.out, dataset.categories), dataset, lambda s: images[s.file_name]
        ).ap50
        > 0.8
    )


def test_small_preset_is_small():
    from augsynth.detectors.architectures import build_model

    network = build_model("fcos_small", num_categories=8)
    assert sum(p.numel() for p in network.parameters()) <= 1_500_000


# --- the torchvision adapter --------------------------------------------------------------------------------


def test_a_result_does_not_depend_on_its_batch(tmp_path):
    folder = write_untrained(tmp_path / "d")
    detector = load_detector(folder, CATEGORIES, min_score=0.0)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (h, 80, 3)).astype(np.uint8) for h in (64, 48, 64, 50)]
    together = detector.detect(images)
    for image, found in zip(images, together, strict=True):
        alone = detector.detect([image])[0]
        assert len(alone) == len(found)
        np.testing.assert_allclose(alone.boxes_xyxy, found.boxes_xyxy, atol=0.011)
    assert detector.detect([]) == []


def test_image_scale_keeps_source_pixels(tmp_path, trained):
    report, _ = trained
    half = tmp_path / "half"
    half.mkdir()
    (half / "model.safetensors").write_bytes((report.out / "model.safetensors").read_bytes())
    write_config(half, DetectorConfig("fcos_tiny", CATEGORIES, image_scale=0.5, view_px=192))
    image = draw_shapes(3)[0]
    large = np.kron(image, np.ones((2, 2, 1), np.uint8))
    small = resize_image(large, (96, 64))
    small_boxes = load_detector(report.out, CATEGORIES, min_score=0.3).detect([small])[0].boxes_xyxy
    large_boxes = load_detector(half, CATEGORIES, min_score=0.3).detect([large])[0].boxes_xyxy
    assert len(small_boxes) == len(large_boxes) > 0
    np.testing.assert_allclose(large_boxes, 2 * small_boxes, atol=0.02)


def test_unknown_categories_are_named(tmp_path):
    folder = write_untrained(tmp_path / "d")
    with pytest.raises(ConfigError, match=r"doesn't know 1 .*: teapot .*train-detector"):
        load_detector(folder, [*CATEGORIES, Category(9, "teapot")])
    with pytest.raises(ConfigError, match="no categories"):
        load_detector(folder, [])
    assert match_categories(["N/A", "a", "a"], [Category(4, "A")], source="x") == {1: 4}


def test_damaged_folders_say_what_to_do(tmp_path):
    with pytest.raises(BackendError, match=r"config\.json is missing.*--detector"):
        load_detector(tmp_path, CATEGORIES)
    with pytest.raises(BackendError, match=r"no such folder.*--detector"):
        load_detector("./no/such/folder", CATEGORIES)
    folder = write_untrained(tmp_path / "d")
    (folder / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BackendError, match=r"model\.safetensors: can't be read"):
        load_detector(folder, CATEGORIES)
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**document, "format": "augsynth-detector-9"}))
    with pytest.raises(BackendError, match="augsynth-detector-9"):
        load_detector(folder, CATEGORIES)
    (folder / "config.json").write_text("{")
    with pytest.raises(BackendError, match="JSON"):
        load_detector(folder, CATEGORIES)
    other = write_untrained(tmp_path / "other", preset="fcos_small")
    write_config(other, DetectorConfig("fcos_tiny", CATEGORIES))
    with pytest.raises(BackendError, match="don't fit preset 'fcos_tiny'"):
        load_detector(other, CATEGORIES)


def test_unreachable_hub_names_the_offline_option(monkeypatch):
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        BackendError, match=r"from the hub, and no such folder is here: .*local folder to --detector"
    ):
        load_detector("someone/no-such-detector", CATEGORIES)


# --- transformers adapters on tiny random checkpoints -------------------------------------------------------


def images_of_two_sizes() -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, size).astype(np.uint8) for size in ((48, 64, 3), (80, 50, 3))]


def check_detections(found: list[Detections], images: list[Image], ids: set[int]) -> None:
    assert len(found) == len(images)
    for result, image in zip(found, images, strict=True):
        assert len(result) and set(result.category_ids.tolist()) <= ids
        assert (np.diff(result.scores) <= 0).all() and (result.scores <= 1).all()
        assert (result.boxes_xyxy >= 0).all() and (result.boxes_xyxy[:, [0, 2]] <= image.shape[1]).all()
        assert (result.boxes_xyxy[:, [1, 3]] <= image.shape[0]).all()


def test_closed_set_detector(tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    names = {0: "Dark Square", 1: "N/A", 2: "bright_bar"}
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=7,
        id2label=names,
        label2id={v: k for k, v in names.items()},
    )
    transformers.DetrForObjectDetection(config).save_pretrained(tmp_path)
    transformers.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(tmp_path)
    detector = load_detector(str(tmp_path), CATEGORIES, min_score=0.0)
    assert detector.view_px == 64
    images = images_of_two_sizes()
    check_detections(detector.detect(images), images, {3, 7})
    with pytest.raises(ConfigError, match="teapot"):
        load_detector(str(tmp_path), [Category(1, "teapot")])


def test_grounding_dino(tmp_path):
    import PIL.Image
    import torch
    import transformers

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "dark", "square", "bright", "bar"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    size = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1],
            num_heads=[1, 1, 1],
            window_size=4,
            out_features=["stage2", "stage3"],
        ),
        text_config=transformers.BertConfig(
            vocab_size=len(words), hidden_size=16, max_position_embeddings=64, **size
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=9,
        num_feature_levels=3,
        max_text_len=32,
        disable_custom_kernels=True,
    )
    folder = tmp_path / "model"
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}),
        transformers.BertTokenizer(str(tmp_path / "vocab.txt")),
    )
    processor.save_pretrained(folder)
    detector = load_detector(str(folder), CATEGORIES, min_score=0.0)
    images = images_of_two_sizes()
    found = detector.detect(images)
    check_detections(found, images, {3, 7})

    network = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    text = "dark square. bright bar."
    inputs = processor(images=[PIL.Image.fromarray(images[0])], text=[text], return_tensors="pt")
    assert [words[i] for i in inputs["input_ids"][0]] == [
        "[CLS]",
        "dark",
        "square",
        ".",
        "bright",
        "bar",
        ".",
        "[SEP]",
    ]
    with torch.no_grad():
        logits = network(**inputs).logits[0].sigmoid()
    expected = torch.stack([logits[:, 1:3].amax(1), logits[:, 4:6].amax(1)], 1).amax()
    one = detector.detect(images[:1])[0]
    assert one.scores[0] == pytest.approx(float(expected), abs=1e-3)


def test_owl_vit(tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["!", *letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: k for k, token in enumerate(tokens)}
    tokenizer = transformers.CLIPTokenizer(vocab=vocab, merges=[], pad_token="!", model_max_length=40)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.OwlViTConfig(
        text_config={
            "vocab_size": len(vocab),
            "max_position_embeddings": 40,
            "bos_token_id": len(vocab) - 2,
            "eos_token_id": len(vocab) - 1,
            **size,
        },
        vision_config={"image_size": 64, "patch_size": 16, **size},
        projection_dim=16,
    )
    transformers.OwlViTForObjectDetection(config).save_pretrained(tmp_path)
    square = {"height": 64, "width": 64}
    processor = transformers.OwlViTImageProcessor(size=square, crop_size=square)
    transformers.OwlViTProcessor(processor, tokenizer).save_pretrained(tmp_path)
    detector = load_detector(str(tmp_path), CATEGORIES, min_score=0.0)
    images = images_of_two_sizes()
    check_detections(detector.detect(images), images, {3, 7})


def test_other_models_are_refused(tmp_path):
    import transformers

    transformers.BertConfig(hidden_size=8).save_pretrained(tmp_path)
    with pytest.raises(BackendError, match="'bert' is not an object detector"):
        load_detector(str(tmp_path), CATEGORIES)
