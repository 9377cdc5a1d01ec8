"""Models by folder or hub id: what a name means, how its parts are loaded, and what is said when they can't be."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from augsynth.core.errors import BackendError

_FILE_SUFFIXES = frozenset(
    {".py", ".json", ".yaml", ".yml", ".npy", ".npz", ".zip", ".onnx"}
    | {".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl"}
)
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model is.

    Attributes:
        name: What the user called it.
        path: Its local folder or file, None on the hub.
        revision: Commit or tag of a hub id, None for its newest.
    """

    name: str
    path: Path | None
    revision: str | None = None

    @property
    def place(self) -> str:
        """What `from_pretrained` takes: the path or the hub id."""
        return self.name if self.path is None else str(self.path)

    @property
    def title(self) -> str:
        """Name and revision, for provenance."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    def options(self) -> dict[str, Any]:
        """Return what `from_pretrained` is told beside the place; without a network only the cache is looked at."""
        if self.path is not None:
            return {}
        return {"revision": self.revision, "local_files_only": not hub_is_reachable()}


def find_model(name: str, *, revision: str | None = None, advice: str) -> ModelSource:
    """Tell a local folder or file from a hub id, without asking the hub.

    Args:
        name: Of a folder or file that is there, or `owner/name`.
        revision: Commit or tag of a hub id; a folder has none.
        advice: How the message ends: what can be passed instead.

    Raises:
        BackendError: There is no such folder, and the name isn't one of the hub's.
    """
    path = Path(name)
    if path.exists():
        return ModelSource(name, path)
    if is_hub_id(name):
        return ModelSource(name, None, revision)
    raise BackendError(f"{name}: no such folder{_near(path)}, nor a hub id like owner/name; {advice}")


def is_hub_id(name: str) -> bool:
    """Tell whether a name that is no local path is `owner/name`, and not a path with a slip in it.

    It is a path where it ends like a file or the folder before its last part is there.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    path = Path(name)
    if path.exists() or name.count("/") != 1 or path.suffix in _FILE_SUFFIXES or path.parent.is_dir():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.partition("/")[0] not in (".", "..", "~")


def _near(path: Path) -> str:
    """Return the folder beside a missing one that is spelt most like it, as a part of a sentence."""
    try:
        beside = [each.name for each in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.8)
    return f" (did you mean {path.with_name(near[0])}?)" if near else ""


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Tell whether the hub answers: one request of at most five seconds in a process.

    The hub's client asks six times for each file of a model, up to half a minute each.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_TIMEOUT_S)
    except Exception:  # whatever the client's transport raises
        return False
    return True


def load_part(
    source: ModelSource, load: Callable[..., Any], *, what: str, advice: str, **options: Any
) -> Any:
    """Load a part of a model with `from_pretrained` or the like; any failure is one line.

    Args:
        source: Of `find_model`.
        load: Called with the place, the source's own options and those that follow.
        what: What is loaded, such as `detector`.
        advice: How the message ends.
        options: For `load`.

    Raises:
        BackendError: It can't be loaded.
    """
    try:
        return load(source.place, **source.options(), **options)
    except BackendError:
        raise
    except Exception as error:  # the hub client, safetensors, transformers and diffusers raise many kinds
        where = "the folder" if source.path is not None else "the hub, and no such folder is here"
        raise BackendError(
            f"can't load the {what} {source.name} from {where}: {first_line(error)}; {advice}"
        ) from error


def fetch_file(source: ModelSource, file: str, *, advice: str, missing: str) -> Path:
    """Return the local path of one file of a model, fetched from the hub where the model is there.

    Args:
        source: Of `find_model`.
        file: Its name in the folder.
        advice: How the message ends where the hub is out of reach.
        missing: How it ends where the model has no such file.

    Raises:
        BackendError: There is no such file, or it is out of reach.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    if source.path is not None:
        path = source.path / file
        if not path.is_file():
            raise BackendError(f"{source.name}: no {file} in it; {missing}")
        return path
    try:
        return Path(hf_hub_download(source.place, file, **source.options()))
    except GatedRepoError:
        raise BackendError(
            f"{source.name}: gated; accept its licence on its hub page and log in with `hf auth login`"
        ) from None
    except LocalEntryNotFoundError:
        raise BackendError(
            f"{source.name}: can't be fetched from the hub, and no such folder is here; {advice}"
        ) from None
    except EntryNotFoundError:
        raise BackendError(f"{source.name}: no {file} in it; {missing}") from None
    except Exception as error:  # the hub's client raises whatever its transport raises
        reason = first_line(error)
        raise BackendError(f"{source.name}: can't be fetched from the hub ({reason}); {advice}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters, or its type where it has none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:200]


def plain_name(name: str) -> str:
    """Return a name as it is compared with others: without case, underscores and hyphens as spaces."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
