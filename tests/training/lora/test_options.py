"""The options of a LoRA: prompts, ranges."""

import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.scene import Category
from augsynth.training.lora.data import open_book
from augsynth.training.lora.options import LoraTraining


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
