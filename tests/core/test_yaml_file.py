"""YAML files of a user: what is read, and what is refused in one line."""

import os
from pathlib import Path
from typing import Any

import pytest

from augsynth.core.errors import ConfigError
from augsynth.core.yaml_file import MAX_BYTES, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing but a note\n", None),
        ("a: 1\nb: [x, 2.5, yes]\n", {"a": 1, "b": ["x", 2.5, True]}),
        ('{"a": {"b": null}}', {"a": {"b": None}}),
        ("\ufeffname: dose für Öl\n", {"name": "dose für Öl"}),
        ("base: &b {a: 1}\nother: {<<: *b, c: [*b, *b]}\n", {"base": {"a": 1}, "other": {"a": 1, "c": [{"a": 1}] * 2}}),
    ],
)  # fmt: skip
def test_yaml_and_json_are_read(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path) == value


def aliases(levels: int) -> str:
    """Nine aliases of nine aliases of …: 9^levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: [", "neither YAML nor JSON"),
        (b"a: 1\n--- \nb: 2\n", "neither YAML nor JSON"),
        (b"a: \xff\xfe", "neither YAML nor JSON in UTF-8"),
        (b"a: !!python/object/apply:os.getcwd []", "neither YAML nor JSON"),
        (b"a: &a [*a]", "an alias stands for a value that holds it"),
        (b"[" * 9000, "neither YAML nor JSON"),
        (aliases(12).encode(), "aliases stand for over 200,000 values"),
        (b"a: " + b"x" * MAX_BYTES, "is over 1 MB"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "options.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_few_aliases_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(aliases(4))
    assert len(read_yaml(tmp_path / "a.yaml")["a3"]) == 9


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: can't be read \(No such file"):
        read_yaml(tmp_path / "gone.yaml")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="no ordinary file"):
            read_yaml(path)
