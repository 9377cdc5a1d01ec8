"""Experiment tracking: figures and a bounded number of pictures for Weights & Biases, TensorBoard or MLflow."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from PIL import Image as pil

from augsynth.core.errors import ConfigError
from augsynth.core.files import make_folder, writing

Tracker = Literal["wandb", "tensorboard", "mlflow"]
PROJECT = "augsynth"
MOST_PICTURES = 16  # of a run, whatever its length
LAST_PICTURES = 4  # of them are left for the end
HELP = "Send figures and a few pictures to a tracker; what it keeps on this machine is in the folder OUT-tracking."


class Tracking:
    """One tracked run, closed when the block ends; it begins with the first figures, so that a mistake leaves none.

    Args:
        kind: Which tracker; None tracks nothing.
        out: Directory of the run; what a tracker keeps on this machine goes to `OUT-tracking` beside it.
        config: Options of the run, plain values.
        device: Torch device of the run.

    Raises:
        ConfigError: The tracker's package is missing.
    """

    def __init__(
        self, kind: Tracker | None, *, out: Path, config: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        if kind is not None and importlib.util.find_spec(kind) is None:
            raise ConfigError(
                f"track is {kind}, whose package isn't installed; run `pip install {kind}`, or leave --track out"
            )
        self._kind = kind
        self._out = out
        self._config = {key: _simple(value) for key, value in config.items()}
        self._device = device
        self._tracker: Any = None
        self._sent: dict[Path, int] = {}
        self._num_sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker is not None:
            self._tracker.finish()

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Send figures.

        Raises:
            ConfigError: The tracker can't be started.
            OutputError: The folder can't be written.
        """
        if self._kind is not None:
            self._begin().log(dict(values), step=step)

    def show(self, paths: Iterable[Path], *, step: int, last: bool = False) -> None:
        """Send pictures that are new or were written anew, within a number for the whole run.

        Args:
            paths: Of the files.
            step: When.
            last: These are the last ones: the newest go first, and what was left for them is used.
        """
        if self._kind is None:
            return
        most = MOST_PICTURES if last else MOST_PICTURES - LAST_PICTURES
        for written, path in sorted(((each.stat().st_mtime_ns, each) for each in paths), reverse=last):
            if self._sent.get(path) != written and self._num_sent < most:
                self._sent[path] = written
                self._num_sent += 1
                self._send(path, step)

    def _send(self, path: Path, step: int) -> None:
        tracker = self._begin()
        if self._kind == "mlflow":
            tracker.log_artifact(str(path), artifact_path=f"pictures/{step:08d}")
            return
        pixels = np.asarray(pil.open(path).convert("RGB"))
        form = {"dataformats": "NHWC"} if self._kind == "tensorboard" else {}
        tracker.log_images({path.stem: pixels[None]}, step=step, **form)

    def _begin(self) -> Any:
        """Return accelerate's tracker, started the first time."""
        if self._tracker is not None:
            return self._tracker
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=self._device == "cpu")  # accelerate's log lines want it
        out = self._out.absolute()
        folder = out.with_name(out.name + "-tracking")
        with writing(folder):
            make_folder(folder)
        try:
            tracker = LOGGER_TYPE_TO_CLASS[self._kind](PROJECT, **self._place(folder, out.name))
            tracker.start()
            tracker.store_init_configuration(self._config)
        except Exception as error:  # each library has errors of its own
            raise ConfigError(
                f"track {self._kind}: can't be started ({error}); set it up, or leave --track out"
            ) from error
        self._tracker = tracker
        return tracker

    def _place(self, folder: Path, name: str) -> dict[str, Any]:
        """Return what a tracker is told of folder and name; MLflow's own variable goes before the folder."""
        if self._kind == "tensorboard":
            return {"logging_dir": str(folder)}
        if self._kind == "wandb":
            return {"dir": str(folder), "name": name}
        if "MLFLOW_TRACKING_URI" in os.environ:
            return {"run_name": name}
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        return {"run_name": name, "logging_dir": (folder / "artifacts").as_uri()}


def _simple(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
