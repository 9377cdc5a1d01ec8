"""A process that dies at its n-th change of the file system, and does nothing after it."""

import contextlib
import os
import shutil
from pathlib import Path


class Killed(BaseException):
    """The process is gone."""


CHANGES = [
    (os, "fsync"), (os, "rename"), (os, "replace"), (os, "link"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"),
    (shutil, "rmtree"), (Path, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir"), (Path, "write_text"),
]  # fmt: skip


class Kill:
    """Let changes happen until the n-th; that and all after it raise. Changes outside of `root` don't count."""

    def __init__(self, patch, root, *, after=None):
        self.after, self.count, self.root = after, 0, str(root)
        for owner, name in CHANGES:
            patch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, change):
        def counted(*arguments, **named):
            first = arguments[0]
            if isinstance(first, int):
                first = os.readlink(f"/proc/self/fd/{first}")
            if str(first).startswith(self.root):
                if self.after is not None and self.count >= self.after:
                    raise Killed
                self.count += 1
            return change(*arguments, **named)

        return counted


def files_of(folder):
    """Content of each file below a folder, by name."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def check_every_kill(train, root, monkeypatch, *, results, most=5):
    """Kill a training at its changes of the file system, run it again, and compare what is there with a whole run.

    Args:
        train: Trains into `folder / "out"`, given the folder.
        root: Empty folder.
        results: Folders in it whose files must be the same bytes; of all others the names.
        most: How many changes to try, spread evenly; all with AUGSYNTH_EVERY_KILL=1 in the environment.
    """
    with monkeypatch.context() as patch:
        whole = Kill(patch, root)
        train(root / "whole")
    wanted = files_of(root / "whole")
    assert any(name.startswith(tuple(results)) for name in wanted)
    every = 1 if os.environ.get("AUGSYNTH_EVERY_KILL") == "1" else max(1, whole.count // most)
    for after in range(every // 2, whole.count, every):
        folder = root / f"killed-{after}"
        with monkeypatch.context() as patch:
            Kill(patch, folder, after=after)
            with contextlib.suppress(Killed):
                train(folder)
        train(folder)
        found = files_of(folder)
        assert found.keys() == wanted.keys(), after
        different = [n for n in wanted if n.startswith(tuple(results)) and found[n] != wanted[n]]
        assert not different, (after, different)
        shutil.rmtree(folder)
    return whole.count
