"""Small models built from nothing."""

from augsynth.training.painter.presets import build_tokenizer


def test_the_tokenizer_spells_what_it_does_not_know() -> None:
    tokenizer = build_tokenizer(["a photo of a can", "background"])
    assert len(tokenizer.tokenize("a photo of a can")) == 5
    assert tokenizer("zebra 병").input_ids.count(tokenizer.eos_token_id) == 1
