"""Image files: decoded the way the annotations were drawn, written without surprises."""

from __future__ import annotations

import errno
import filecmp
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as pil

from augsynth.core.errors import BackendError, DatasetError
from augsynth.core.files import is_scarcity, make_folder, sync_folder, write_atomically
from augsynth.core.scene import Dataset, Image, Scene

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: pil.Transpose.FLIP_LEFT_RIGHT,
    3: pil.Transpose.ROTATE_180,
    4: pil.Transpose.FLIP_TOP_BOTTOM,
    5: pil.Transpose.TRANSPOSE,
    6: pil.Transpose.ROTATE_270,
    7: pil.Transpose.TRANSVERSE,
    8: pil.Transpose.ROTATE_90,
}
_JPEG_QUALITY = 95
_NO_PICTURES = frozenset(
    {"EPS", "PDF", "WMF", "MPEG", "FPX", "HDF5", "GRIB", "BUFR"}
)  # drawings, data, films


def relative_name(file_name: str) -> str:
    """Return a COCO `file_name` as a clean relative POSIX path.

    Raises:
        ValueError: It is empty, absolute or climbs out with `..`; the text says which.
    """
    posix = file_name.replace("\\", "/")
    if posix.startswith("/") or re.match(r"[A-Za-z]:/", posix):
        raise ValueError("is absolute")
    parts = [part for part in posix.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("leaves the image directory with '..'")
    if not parts or "\0" in posix:
        raise ValueError("is no file name")
    return "/".join(parts)


def image_path(root: Path, file_name: str) -> Path:
    """Return where an image of the dataset lies, always below `root`, symbolic links followed.

    Raises:
        DatasetError: The name is absolute or empty, or it or a link on its way leads out of the root.
    """
    try:
        path = root / relative_name(file_name)
    except ValueError as error:
        raise DatasetError(
            f"{root}: file_name {file_name!r} {error}; write it relative to the image directory"
        ) from None
    if not lies_inside(root, path):
        raise DatasetError(
            f"{path}: file_name is a link out of the image directory; put the image itself there"
        )
    return path


def lies_inside(root: Path, path: Path) -> bool:
    """Say whether a path lies below a directory once symbolic links are followed; nothing is opened."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    except (OSError, ValueError):
        return False


def is_plain_file(path: Path) -> bool:
    """Say whether a path names a file with bytes: no pipe, device or directory; nothing is opened."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_plain(path: Path) -> bytes:
    """Return the content of a file, of one with bytes alone: a pipe or device is never opened.

    Raises:
        OSError: It isn't there, is none, or can't be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "no ordinary file")
        return path.read_bytes()
    except ValueError:
        raise OSError(errno.EINVAL, "no file name") from None


@dataclass(frozen=True, slots=True)
class Header:
    """What the beginning of an image file says.

    Attributes:
        raw_wh: Width and height of the pixels as stored.
        size_wh: Width and height after EXIF orientation.
    """

    raw_wh: tuple[int, int]
    size_wh: tuple[int, int]


def read_header(path: Path) -> Header:
    """Read the sizes of an image from its header alone.

    Raises:
        DatasetError: The file can't be opened as an image.
    """
    with _opened(path) as picture:
        width, height = picture.size
        turned = picture.format != "TIFF" and _orientation(picture) >= 5  # Pillow turns TIFF itself
    return Header((width, height), (height, width) if turned else (width, height))


def read_image(root: Dataset | Path, scene: Scene) -> Image:
    """Read the pixels of a scene in the frame its boxes were drawn in.

    Grey, palette, CMYK, 16-bit and alpha images become RGB: 16 bits are scaled to 8 (not clipped), alpha is
    dropped as cv2 does. EXIF orientation is applied unless the recorded size is that of the raw pixels and
    not of the turned ones: then the annotation tool ignored the tag, the boxes belong to the raw pixels, and
    these are returned. The result is therefore always `scene.size_wh` in size.

    Args:
        root: The image directory, or a dataset that was read with one.
        scene: The scene whose image is wanted.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: The file is missing, truncated, no image, not convertible, or of another size than
            recorded. One bad image says nothing about the others: callers may count it and go on.
    """
    directory = root.image_root if isinstance(root, Dataset) else root
    if directory is None:
        raise DatasetError(
            f"image {scene.image_id}: the dataset was read without images; name the image directory"
        )
    path = image_path(directory, scene.file_name)
    with _opened(path) as picture:
        upright = _turned(_loaded(path, picture), scene.size_wh)
        if upright.size != scene.size_wh:
            width, height = scene.size_wh
            raise DatasetError(
                f"{path}: image {scene.image_id}: width/height is {width}×{height} in the annotation file, "
                f"but the file decodes to {upright.size[0]}×{upright.size[1]}; correct them and the boxes"
            )
        return _rgb(path, upright)


def write_image(path: Path, image: Image) -> None:
    """Write an image as PNG or JPEG by suffix: atomically, without metadata, same pixels = same bytes.

    Only PNG keeps every pixel; JPEG is written at quality 95 without chroma subsampling.

    Args:
        path: Ends with .png, .jpg or .jpeg; missing parent directories are made.
        image: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: The suffix or the array isn't one of these.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"{path}: image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in formats:
        raise ValueError(f"{path}: images are written as .png, .jpg or .jpeg")
    _save(pil.fromarray(np.ascontiguousarray(image)), path, formats[path.suffix.lower()])


def place_original(
    source: Path,
    target: Path,
    mode: Literal["hardlink", "copy", "omit"],
    *,
    size_wh: tuple[int, int] | None = None,
    root: Path | None = None,
) -> Literal["hardlink", "copy", "baked", "omit", "kept"]:
    """Bring an original image into the output; never overwrite a different file.

    A file with an EXIF orientation tag is written anew with the pixels turned as `read_image` turns them and
    the tag dropped, because half of the tools ignore the tag; its source stays untouched. A picture that is
    cut short is placed as it is; what isn't a picture is never placed.

    Args:
        source: The original file.
        target: Its place in the output.
        mode: `hardlink` falls back to `copy` across file systems.
        size_wh: Recorded size, which decides whether the tag was honoured when the boxes were drawn.
        root: The image directory, which the source must not leave by a link.

    Returns:
        What was done; `kept` when the target was already there.

    Raises:
        DatasetError: The source is missing, no picture or outside the root, or the target exists with other
            content.
    """
    if mode == "omit":
        return "omit"
    if root is not None and not lies_inside(root, source):
        raise DatasetError(f"{source}: leads out of {root}, so it isn't carried over; put the image there")
    try:
        if _bake(source, target, size_wh):
            return "baked"
        if target.exists():
            if not (target.samefile(source) or filecmp.cmp(source, target, shallow=False)):
                raise DatasetError(f"{target}: holds another image than {source}; choose an empty directory")
            return "kept"
        make_folder(target.parent)
        if mode == "hardlink":
            try:
                os.link(source.resolve(), target)
            except OSError:  # another file system, or one without links
                pass
            else:
                sync_folder(target.parent)
                return "hardlink"
        with source.open("rb") as original:
            write_atomically(target, lambda file: shutil.copyfileobj(original, file))
        return "copy"
    except OSError as error:
        raise DatasetError(f"{source}: can't be placed at {target} ({error}); check both paths") from error


def _bake(source: Path, target: Path, size_wh: tuple[int, int] | None) -> bool:
    """Write the source with its orientation applied and dropped, and return whether it had one."""
    if not os.path.exists(source):
        raise FileNotFoundError("no such file")
    with _opened(source) as picture:
        if picture.format == "TIFF" or _orientation(picture) == 1:
            return False
        try:
            upright = _turned(_loaded(source, picture), size_wh)
        except DatasetError:
            return False
        picture_format = picture.format
    if not target.exists():
        upright.info = {key: upright.info[key] for key in ("icc_profile",) if key in upright.info}
        _save(upright, target, picture_format)
    return True


def _opened(path: Path) -> Any:
    """Return the picture in a file, its pixels not yet decoded; a pipe or device is never opened."""
    if not os.path.exists(path):
        raise DatasetError(f"{path}: file_name names no file; restore it or check the image directory")
    if not is_plain_file(path):
        raise DatasetError(f"{path}: file_name names a pipe, device or folder; replace or unlist it")
    try:
        picture = pil.open(path)
    except Exception as error:  # decoders of broken files raise nearly anything
        if is_scarcity(error):
            raise BackendError(
                f"{path}: can't be opened ({error}); the same command goes on with more open files (ulimit -n)"
            ) from error
        raise DatasetError(
            f"{path}: file_name can't be opened as an image ({error}); replace or unlist it"
        ) from error
    if picture.format in _NO_PICTURES:
        picture.close()
        raise DatasetError(f"{path}: file_name names a file of type {picture.format}; replace or unlist it")
    return picture


def _loaded(path: Path, picture: Any) -> Any:
    try:
        picture.load()
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DatasetError(
            f"{path}: file_name names a truncated or damaged image ({error}); replace or unlist it"
        ) from error
    return picture


def _orientation(picture: Any) -> int:
    """Return the EXIF orientation, 1 to 8, with 1 for none or a damaged tag."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block is no reason to lose the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(picture: Any, size_wh: tuple[int, int] | None) -> Any:
    """Return the loaded picture upright, or as it is where only the raw size agrees with the record."""
    method = _TURNS.get(_orientation(picture))
    if method is None:
        return picture
    upright = picture.transpose(method)
    return picture if size_wh not in (None, upright.size) and picture.size == size_wh else upright


def _rgb(path: Path, picture: Any) -> Image:
    if picture.mode.startswith("I"):  # I;16 and its byte orders, or 16 bits held in 32
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise DatasetError(f"{path}: file_name names an image of over 16 bits; convert it to 8 bits")
        grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode == "F":
        raise DatasetError(f"{path}: file_name names an image of floats; convert it to 8 bits")
    return np.array(picture.convert("RGB"))


def _save(picture: Any, path: Path, image_format: str) -> None:
    options = {
        "JPEG": {"quality": _JPEG_QUALITY, "subsampling": 0},
        "MPO": {"quality": _JPEG_QUALITY},
        "PNG": {"compress_level": 2},  # a tenth larger than at 6, in a third of the time
    }
    name = "JPEG" if image_format == "MPO" else image_format
    write_atomically(path, lambda file: picture.save(file, format=name, **options.get(image_format, {})))
