"""Models by folder or hub id: what a name means, and what is said when it can't be loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError


def plain_name(name: str) -> str:
    """Return a name as it is compared with others: without case, underscores and hyphens as spaces."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _looks_like_a_path(model: str) -> bool:
    is_hub_id = model.count("/") <= 1 and ".py" not in model and not model.startswith((".", "/", "~", "\\"))
    return Path(model).exists() or not is_hub_id


def load_part(model: str, load: Callable[[], Any], *, what: str, advice: str) -> Any:
    """Call `load` and turn any failure into one line that ends with an advice.

    Raises:
        BackendError: It failed.
    """
    try:
        return load()
    except Exception as error:  # the hub client, safetensors and transformers raise many kinds
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        where = "the folder" if Path(model).exists() else "the hub"
        raise BackendError(f"can't load the {what} {model} from {where}: {reason[:200]}; {advice}") from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
