"""Text of others steers no terminal and keeps nobody waiting."""

import os
import time

import pytest

from augsynth.coco.faults import repair_lines
from augsynth.core.errors import ConfigError, DatasetError
from augsynth.core.text import printable
from augsynth.core.yaml_file import read_yaml
from augsynth.inpainting.prompts.file import read_words
from tests.cases.small import read, small_dataset


def test_text_of_others_cannot_steer_a_terminal(root):
    document = small_dataset()
    document["categories"].append({"id": 9, "name": "\x1b[2Jx\u202egnp\n"})
    (line,) = repair_lines(read(root, document))
    assert "\\x1b[2Jx\\u202egnp\\n" in line and "\x1b" not in line
    document["images"][0]["file_name"] = "../\x1b]0;x\x07.png"
    with pytest.raises(DatasetError) as caught:
        read(root, document)
    assert "\x1b" not in str(caught.value) and "\x07" not in str(caught.value)
    assert printable("図 é 👩‍👧 $x_{1}$ can't") == "図 é 👩‍👧 $x_{1}$ can't"


def test_a_yaml_file_of_nested_aliases_or_endless_length_is_refused_quickly(tmp_path):
    categories = ()
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
    )
    merged = "a0: &a0 {x: 1}\n" + "".join(
        f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12)
    )
    cases = {
        "bomb": bomb,
        "merged": merged,
        "itself": "a: &a [*a]",
        "long": "a: " + "x" * 3_000_000,
        "deep": "[" * 9000,
    }
    start = time.monotonic()
    for name, text in cases.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        with pytest.raises(ConfigError, match=rf"{name}\.yaml: .*; "):
            read_words(tmp_path / f"{name}.yaml", categories)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="no ordinary file"):
        read_yaml(tmp_path / "pipe.yaml")
    assert time.monotonic() - start < 30
    (tmp_path / "anchors.yaml").write_text("base: &base {a: 1}\nother: {<<: *base, b: [*base, *base]}\n")
    assert read_yaml(tmp_path / "anchors.yaml")["other"] == {"a": 1, "b": [{"a": 1}, {"a": 1}]}
