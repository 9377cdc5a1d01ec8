"""The options as YAML gives them."""

from pathlib import Path

import pytest

from augsynth.generation.config import plain_config, read_config


@pytest.mark.parametrize("key", ["filter", "alignment"])
def test_an_unquoted_off_is_what_it_says(tmp_path: Path, key: str) -> None:
    (tmp_path / "options.yaml").write_text(f"{key}: off\n")
    assert plain_config(read_config(tmp_path / "options.yaml"))[key] == "off"
