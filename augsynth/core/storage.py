"""Files at URLs (s3://, gs:// and others that fsspec knows): fetched into the cache folder, or written there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from augsynth.core.cache import user_folder
from augsynth.core.errors import ConfigError, OutputError
from augsynth.core.files import make_folder, write_atomically, writing
from augsynth.core.hub import first_line

_FILES_AT_ONCE = 256
_URL = re.compile(r"[a-z][a-z0-9+]+://[^\s,#:]+")
_LOCAL = "file://"
_VERSION = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "mtime", "updated", "created")
_NO_BUCKET = "bucket does not exist"
_NEEDS = "check the address, the credentials and the network"
_names: dict[str, str] = {}  # URLs by the local path of what was fetched from them


def is_url(text: str) -> bool:
    """Say whether a text is the URL of a file or folder that isn't on this machine."""
    return _URL.match(text) is not None and not text.startswith(_LOCAL)


def fetched(text: str) -> str:
    """Return a text with the local path in place of each URL: what is there was fetched, as far as it had changed.

    Folders are fetched whole. A file's time of change is told from its version at the URL, so that it is the same on
    every machine.

    Raises:
        ConfigError: There is nothing at a URL, or it can't be reached.
    """
    return _URL.sub(lambda found: str(_fetch(found.group())), text)


def named(text: str) -> str:
    """Return a text with the URL in place of each local path of what was fetched from there."""
    for local, url in _names.items():
        text = text.replace(local, url)
    return text


def local_folder(text: str) -> Path:
    """Return the folder that a path names; for a URL the folder in the cache that stands for it on this machine.

    Raises:
        ConfigError: There is no cache folder, or it looks like a URL and is none.
    """
    if is_url(text):
        return _place_of(text)
    path = text.removeprefix(_LOCAL)
    if re.match(r"[A-Za-z][A-Za-z0-9+]+:/", path):
        raise ConfigError(f"{text}: neither a folder nor a URL; a URL begins like s3://, in small letters")
    return Path(path)


def _place_of(url: str) -> Path:
    root = user_folder()
    if root is None:
        raise ConfigError(f"{url}: needs a cache folder; set AUGSYNTH_CACHE to a folder, or leave it unset")
    url = url.rstrip("/")
    digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    path = root.absolute() / "urls" / digest / PurePosixPath(url).name
    _names[str(path)] = url
    return path


def _fetch(url: str) -> Path:
    """Bring what is at a URL into the cache folder."""
    if url.startswith(_LOCAL):
        return Path(url.removeprefix(_LOCAL))
    place = _place_of(url)
    there = Remote(url)
    with writing(place.parent):
        make_folder(place.parent)
    with FileLock(place.parent / "lock"):
        files = there.list()
        if not files:
            raise ConfigError(f"{url}: there is nothing; {_NEEDS}")
        index, known = place.parent / "index.json", dict[str, str]()
        with contextlib.suppress(OSError, ValueError):
            known = dict(json.loads(index.read_bytes()))
        changed = [n for n in files if known.get(n) != files[n] or not _local(place, n).is_file()]
        if known.keys() == files.keys() and not changed:
            return place
        if ("" in files) == place.is_dir():  # a file where a folder was, or the other way round
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        there.fetch(changed, place)
        for name in changed:
            seconds = int(hashlib.blake2b(files[name].encode(), digest_size=3).hexdigest(), 16)
            os.utime(_local(place, name), ns=(seconds * 10**9, seconds * 10**9))
        for name in known.keys() - files.keys():
            _local(place, name).unlink(missing_ok=True)
        write_atomically(index, lambda file: file.write(json.dumps(files).encode()))
    return place


def _local(place: Path, name: str) -> Path:
    return place / name if name else place


class Remote:
    """A file or folder at a URL.

    Args:
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def list(self) -> dict[str, str]:
        """Return the version of each file by its name below the URL; that of a file alone is empty.

        Raises:
            ConfigError: It can't be reached.
        """
        with self._reaching("read") as (system, root):
            system.invalidate_cache()
            try:
                found = system.find(root, detail=True)
            except FileNotFoundError as error:
                if _NO_BUCKET in str(error):
                    raise
                found = {}
            return {self._name(path, root): _version(info) for path, info in found.items()}

    def fetch(self, names: Iterable[str], place: Path) -> None:
        """Bring files into a local folder, each whole or not at all.

        Raises:
            ConfigError: One can't be read.
        """
        left = sorted(names)
        for low in range(0, len(left), _FILES_AT_ONCE):
            batch = left[low : low + _FILES_AT_ONCE]
            targets = [_local(place, name) for name in batch]
            parts = [target.with_name(f".{target.name}.part") for target in targets]
            with writing(place):
                for part in parts:
                    make_folder(part.parent)
            with self._reaching("read") as (system, root):
                system.get([self._path(root, name) for name in batch], [str(part) for part in parts])
            with writing(place):
                for part, target in zip(parts, targets, strict=True):
                    part.replace(target)

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, None where there is none.

        Raises:
            ConfigError: It can't be read.
        """
        with self._reaching("read") as (system, root):
            try:
                return bytes(system.cat_file(self._path(root, name)))
            except FileNotFoundError as error:
                if _NO_BUCKET in str(error):
                    raise
                return None

    def send(self, place: Path, names: Iterable[str]) -> None:
        """Write files of a local folder to the URL, each whole or not at all.

        Raises:
            OutputError: One can't be written.
        """
        left = sorted(names)
        for low in range(0, len(left), _FILES_AT_ONCE):
            batch = left[low : low + _FILES_AT_ONCE]
            with self._reaching("written") as (system, root):
                system.put([str(place / name) for name in batch], [self._path(root, n) for n in batch])

    def write(self, name: str, data: bytes, *, new: bool = False) -> bool:
        """Write a file; return False where it was to be new and is there already.

        Raises:
            OutputError: It can't be written.
        """
        with self._reaching("written") as (system, root):
            path = self._path(root, name)
            try:
                system.pipe_file(path, data, mode="create" if new else "overwrite")
            except FileExistsError:
                return False
            return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that aren't there are none.

        Raises:
            OutputError: One can't be removed.
        """
        for name in names:
            with self._reaching("written") as (system, root), contextlib.suppress(FileNotFoundError):
                system.rm_file(self._path(root, name))

    @contextlib.contextmanager
    def _reaching(self, verb: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path of the URL, and say in one line why it can't be reached."""
        from fsspec import available_protocols
        from fsspec.core import url_to_fs

        scheme = self.url.partition("://")[0]
        if scheme not in available_protocols():
            raise ConfigError(f"{self.url}: no URLs begin with {scheme}://; give s3://, gs://, … or a folder")
        kind = ConfigError if verb == "read" else OutputError
        try:
            yield url_to_fs(self.url)
        except ImportError as error:
            remedy = "pip install 'augsynth[s3]'" if self.url.startswith("s3://") else str(error)
            raise ConfigError(f"{self.url}: needs a library that isn't installed: {remedy}") from None
        except Exception as error:  # each file system raises kinds of its own
            raise kind(f"{self.url}: can't be {verb} ({first_line(error)}); {_NEEDS}") from None

    @staticmethod
    def _path(root: str, name: str) -> str:
        return f"{root.rstrip('/')}/{name}" if name else root

    @staticmethod
    def _name(path: str, root: str) -> str:
        return path.removeprefix(root).strip("/")


def _version(info: Mapping[str, Any]) -> str:
    """Return what tells whether a file was changed: its size, and the first sign of its version that there is."""
    sign = next((info[key] for key in _VERSION if info.get(key) is not None), "")
    return f"{info.get('size')} {sign}"
