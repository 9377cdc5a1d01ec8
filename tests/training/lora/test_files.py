"""A LoRA on disk: what it is for, under whose licence, and how good it was."""

import json
import math
from dataclasses import replace

import pytest
import torch

from augsynth import __version__
from augsynth.inpainting.checkpoints import inspect_checkpoint
from augsynth.training.lora.files import FACTS, best_loss, describe_lora, save_lora
from augsynth.training.lora.train import add_adapters, load_base
from tests.tiny_loras import QUICK, tensors


def test_a_lora_says_what_it_is_for_and_keeps_its_licence(folders, tmp_path):
    training = replace(QUICK, model=str(folders("sd 9")), lora_rank=3)
    checkpoint = replace(inspect_checkpoint(training.model), licence="openrail++")
    painter = load_base(training)
    adapters = add_adapters(painter.unet, training, name="")
    with torch.no_grad():
        for k, parameter in enumerate(adapters.parameters()):
            parameter.fill_(0.01 * (k + 1))
    facts = describe_lora(checkpoint, training, ["Dose", "bottle"], step=7, held_out_loss=0.25)
    out = tmp_path / "lora"
    save_lora(out, painter.unet, checkpoint, facts)
    assert sorted(p.name for p in out.iterdir()) == ["README.md", FACTS, "pytorch_lora_weights.safetensors"]
    found = json.loads((out / FACTS).read_text("utf-8"))
    assert found == json.loads(json.dumps(facts))
    assert (found["base_model"], found["licence"], found["augsynth"]) == (
        training.model,
        "openrail++",
        __version__,
    )
    assert (found["rank"], found["step"], found["categories"]) == (3, 7, ["Dose", "bottle"])
    assert found["training"]["categories"] == ["can", "bottle"]
    card = (out / "README.md").read_text("utf-8")
    assert card.startswith("---\n") and 'license: "openrail++"' in card
    assert card.rstrip().endswith("for: Dose, bottle.")
    weights = tensors(out)
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert sum(value.numel() for value in weights.values()) == sum(p.numel() for p in adapters.parameters())
    assert all(3 in value.shape for value in weights.values())
    assert best_loss(out) == 0.25
    save_lora(
        out,
        painter.unet,
        replace(checkpoint, licence=None),
        {**facts, "licence": None, "held_out_loss": None},
    )
    assert "license:" not in (out / "README.md").read_text() and best_loss(out) == math.inf


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"held_out_loss": null}'])
def test_where_no_loss_is_known_any_is_better(tmp_path, text):
    if text is not None:
        (tmp_path / FACTS).write_text(text)
    assert best_loss(tmp_path) == math.inf
