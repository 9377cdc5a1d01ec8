"""Torch checkpoints read as data: what isn't a tensor, a number or a text is left out, and nothing in it runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from augsynth.core.errors import BackendError
from augsynth.core.hub import first_line

# All that a pickle may call. Training checkpoints also hold loss histories, methods and whatever hooks add:
# an inert object stands in for each.
_ALLOWED = frozenset(
    {
        ("collections", "OrderedDict"),
        ("torch", "Size"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
    }
)


class LeftOut:
    """Stands for an object that isn't data; it takes anything and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> LeftOut:
        """Take what the object would have been built from."""
        return super().__new__(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> LeftOut:
        """Stand for the result of a call as well."""
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Drop an item."""

    def extend(self, items: Any) -> None:
        """Drop the items."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        import torch

        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        found = getattr(torch, name, None) if module == "torch" else None
        if isinstance(found, torch.dtype) or (isinstance(found, type) and name.endswith("Storage")):
            return found
        return LeftOut


def _load(file: IO[bytes], **options: Any) -> Any:
    return _DataUnpickler(file, **options).load()


def read_torch_file(path: Path) -> Any:
    """Return what a torch checkpoint holds, on the CPU, with `LeftOut` for everything that isn't data.

    Raises:
        BackendError: The file is damaged, or a program (TorchScript).
    """
    import torch

    data_only: Any = SimpleNamespace(
        Unpickler=_DataUnpickler, load=_load, UnpicklingError=pickle.UnpicklingError, __name__="data_only"
    )
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(name.endswith("constants.pkl") for name in archive.namelist()):
                    raise BackendError(
                        f"{path}: TorchScript is a program; save the model's state_dict instead"
                    )
        return torch.load(path, map_location="cpu", pickle_module=data_only, weights_only=False)
    except BackendError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise BackendError(f"{path}: can't be read ({first_line(error)}); copy or train it again") from None
