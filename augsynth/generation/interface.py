"""`augsynth.generate` and the finished run that it returns, for Python and notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augsynth.coco.reader import read_dataset
from augsynth.core.arrays import MAX_EXACT
from augsynth.core.errors import ResumeError
from augsynth.core.images import read_image
from augsynth.core.scene import Dataset, Image, Scene
from augsynth.core.storage import local_folder
from augsynth.generation.config import config_from, read_config
from augsynth.generation.export import AUGMENTED, DECOYS, PROVENANCE, SUMMARY
from augsynth.generation.finalize import finalize as copy_without
from augsynth.generation.run import Progress
from augsynth.generation.run import generate as run_to_end
from augsynth.generation.run_state import finished_state
from augsynth.generation.veto import read_veto

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class Run:
    """A finished run, read as it is asked for.

    Attributes:
        path: The run's directory.
    """

    path: Path

    @property
    def annotations(self) -> Path:
        """The COCO file of originals and new images: train on this one."""
        return self.path / AUGMENTED

    @property
    def images(self) -> Path:
        """The directory that its `file_name`s are relative to."""
        return self.path / "images"

    @cached_property
    def dataset(self) -> Dataset:
        """The augmented dataset: originals and new images."""
        return read_dataset(self.annotations, images=self.images)

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """What `summary.json` says: attempts, yield and what each rule rejected, by category."""
        found = _read(self.path / SUMMARY, _decoded)
        if not isinstance(found, dict):
            raise _damaged(self.path / SUMMARY, "no object")
        for name in ("objects", "images", "attempts", "yield"):
            value = found.get(name)
            if not isinstance(value, int | float) or not abs(value) <= MAX_EXACT:
                raise _damaged(self.path / SUMMARY, f"{name} is no number")
        return found

    @cached_property
    def attempts(self) -> tuple[Mapping[str, Any], ...]:
        """Every attempt in order, as in `provenance.jsonl`: place, seed, scores, reason."""
        return _read_lines(self.path / PROVENANCE)

    @cached_property
    def decoys(self) -> tuple[Mapping[str, Any], ...]:
        """Windows that were repainted without an object, as in `decoys.jsonl`."""
        path = self.path / DECOYS
        return _read_lines(path) if path.is_file() else ()

    def before_and_after(self, attempt: Mapping[str, Any]) -> tuple[Image, Image]:
        """Return the window of an accepted attempt in the source image and in the new one, HWC uint8 RGB.

        Raises:
            ResumeError: The attempt is in no new image; only the sheet of rejected ones shows it.
        """
        if "annotation_id" not in attempt:
            raise ResumeError(
                f"attempt {attempt.get('attempt')} is in no new image ({attempt.get('reason')}); look at "
                "contact_sheet(accepted=False)"
            )
        windows = [
            self._window(int(attempt[key]), attempt["window_xyxy"]) for key in ("source_image_id", "image_id")
        ]
        return windows[0], windows[1]

    def contact_sheet(self, *, accepted: bool = True) -> Picture:
        """Return the sheet of windows before and after, of accepted or of rejected attempts.

        Raises:
            ResumeError: The run has none.
        """
        from PIL import Image as pil

        path = self._sheet(accepted)
        if not path.is_file():
            raise ResumeError(f"{path}: there is no such sheet; the run has no {_word(accepted)} attempts")
        with pil.open(path) as picture:
            return picture.copy()

    def __str__(self) -> str:
        found = self.summary
        return (
            f"{found['objects']} objects in {found['images']} new images, {found['attempts']} attempts, "
            f"yield {found['yield']:.0%}: {self.annotations}"
        )

    def _repr_png_(self) -> bytes | None:
        """Return the sheet of accepted objects as notebooks show it."""
        path = self._sheet(True)
        return path.read_bytes() if path.is_file() else None

    def _sheet(self, accepted: bool) -> Path:
        return self.path / f"contact_sheet_{_word(accepted)}.png"

    @cached_property
    def _scenes(self) -> Mapping[int, Scene]:
        return {scene.image_id: scene for scene in self.dataset.scenes}

    def _window(self, image_id: int, window_xyxy: list[int]) -> Image:
        x1, y1, x2, y2 = (int(v) for v in window_xyxy)
        return np.ascontiguousarray(read_image(self.dataset, self._scenes[image_id])[y1:y2, x1:x2])


def generate(
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    *,
    out: str | Path,
    n: int | None = None,
    config: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Paint accepted objects until there are `n` (100) or the attempts are spent, and publish the dataset.

    Args:
        annotations: COCO annotation file, or a dataset of another format (docs/formats.md); without it and `images`
            the rendered sample is drawn.
        images: Directory that `file_name` is relative to, where it isn't near the file.
        out: Directory of the run, or its URL; one that was interrupted goes on, a finished one isn't touched.
        n: Accepted objects wanted.
        config: Name of a preset, or YAML file of options.
        progress: Called with a stage name and the tally so far; without it nothing is printed.
        options: By their names in `augsynth generate --help` and in YAML; paths may be `Path`s.

    Returns:
        The run; it may hold fewer than `n` objects, see `Run.summary`.

    Raises:
        ConfigError: An option is unknown, wrong or doesn't go with another; a near name is suggested.
        LowYieldError: Hardly anything is accepted; with a lower `min_yield` the same call goes on.
        AugsynthError: Data, models or the output directory can't be used; nothing that was committed is lost.
    """
    given = {"annotations": annotations, "images": images, "out": out, "n": n, **options}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in given.items()}
    options_of_run = (
        config_from({}, source="generate", **plain) if config is None else read_config(config, **plain)
    )
    run_to_end(options_of_run, progress=progress or _say_nothing)
    return Run(local_folder(str(out)))


def finalize(
    run: str | Path,
    veto: str | Path | Iterable[int] = (),
    *,
    out: str | Path,
    replace: bool = False,
    judge: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Write a copy of a finished run without the objects that a person struck out; the run stays as it is.

    Args:
        run: Directory of the run.
        veto: A veto file, or numbers of accepted attempts (`attempt` in `Run.attempts`).
        out: Directory of the copy.
        replace: Paint as many objects anew, as the run would have gone on.
        judge: Detector trained apart from what filters, that grades the copy's labels for its report and summary.
        progress: As for `generate`.

    Raises:
        ConfigError: The veto file is none, or an attempt isn't one of the run's accepted ones.
        ResumeError: The run isn't finished, or a file of it or its source isn't as it was.
        AugsynthError: As `generate`, where objects are replaced.
    """
    if isinstance(veto, str | Path):
        numbers, title = read_veto(Path(veto)), str(veto)
    else:
        numbers, title = tuple(veto), "veto"
    said = progress or _say_nothing
    by = None if judge is None else str(judge)
    copy_without(Path(run), numbers, out=Path(out), replace=replace, progress=said, judge=by, title=title)
    return Run(Path(out))


def open_run(path: str | Path) -> Run:
    """Open a finished run.

    Raises:
        ResumeError: The directory holds no run, or one that isn't finished.
    """
    folder = Path(path)
    finished_state(folder)
    return Run(folder)


def _say_nothing(*_: object) -> None:
    """Take progress and keep quiet."""


def _word(accepted: bool) -> str:
    return "accepted" if accepted else "rejected"


def _read_lines(path: Path) -> tuple[Mapping[str, Any], ...]:
    found = _read(path, lambda text: [_decoded(line) for line in text.splitlines()])
    if not all(isinstance(each, dict) for each in found):
        raise _damaged(path, "a line that is no object")
    return tuple(found)


def _read(path: Path, decode: Callable[[str], Any]) -> Any:
    """Return what a file of a finished run holds.

    Raises:
        ResumeError: It is gone or damaged.
    """
    try:
        return decode(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResumeError(f"{path}: can't be read ({error.strerror}); put it back, or run again") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None


def _decoded(text: str) -> Any:
    return json.loads(text)


def _damaged(path: Path, what: str) -> ResumeError:
    return ResumeError(f"{path}: damaged ({what}); put it back, or run again with another --out")
