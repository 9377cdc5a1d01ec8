"""YAML (and JSON, which is YAML too) that a user gives: read safely, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from augsynth.core.errors import ConfigError
from augsynth.core.images import read_plain

MAX_BYTES = 1_000_000
MAX_VALUES = 200_000


def read_yaml(path: Path) -> Any:
    """Return what a YAML or JSON file holds, None for nothing.

    Raises:
        ConfigError: It can't be read, is no ordinary file, is over 1 MB, isn't YAML in UTF-8, or its aliases
            stand for more than 200,000 values.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"{path}: is over {MAX_BYTES // 1_000_000} MB, more than options or words take; check the path"
            )
        return parse_yaml(read_plain(path).decode("utf-8-sig"), source=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: neither YAML nor JSON in UTF-8 ({error}); mend the file") from None


def parse_yaml(text: str, *, source: str) -> Any:
    """Return what a text in YAML or JSON holds, None for nothing; `source` names it in errors.

    Raises:
        ConfigError: It isn't YAML, or its aliases stand for more than 200,000 values.
    """
    import yaml

    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_VALUES:
            raise ConfigError(f"{source}: its aliases stand for over {MAX_VALUES:,} values; write them out")
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        first = (str(error).splitlines() or ["damaged"])[0]
        raise ConfigError(f"{source}: neither YAML nor JSON in UTF-8 ({first}); mend the file") from None
    finally:
        if loader is not None:
            loader.dispose()


def _size(node: Any, known: dict[int, int]) -> int:
    """Return how many values a node stands for once its aliases are written out.

    Raises:
        ValueError: A value holds itself.
    """
    if known.setdefault(id(node), 0) < 0:
        raise ValueError("an alias stands for a value that holds it")
    if known[id(node)] == 0:
        known[id(node)] = -1
        value = node.value if isinstance(node.value, list) else []
        parts = [part for item in value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
