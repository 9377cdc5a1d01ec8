"""What a disk holds after a power cut at any moment, told from the order of writes, syncs and renames."""

import os
from pathlib import Path

Tree = dict[str, bytes | None]  # content by name, None for a folder
EVENTS = ("fsync", "replace", "rename", "link", "unlink", "rmdir", "mkdir")


class Disk:
    """Record, after every change below `root`, two disks that a power cut could leave.

    One has every name there is, and no byte of a file that wasn't synced; the other has only the names of folders
    that were synced, as they were then.

    Attributes:
        moments: After each change, a mark of the caller's and both disks.
    """

    def __init__(self, patch, root: Path, *, old: Path, mark):
        self.root, self.mark = root, mark
        self.moments: list[tuple[object, Tree, Tree]] = []
        self.synced = {path.stat().st_ino: path.read_bytes() for path in old.rglob("*") if path.is_file()}
        self.names: dict[int, dict[str, tuple[int, bytes | None]]] = {}  # of folders, as they were synced
        self.known: set[int] = set()
        for name in EVENTS:
            patch.setattr(os, name, self._recorded(name, getattr(os, name)))

    def _recorded(self, name, change):
        def recorded(*arguments, **named):
            if name == "fsync":
                self._sync(Path(os.readlink(f"/proc/self/fd/{arguments[0]}")))
            else:
                change(*arguments, **named)
            if name != "fsync" or str(self.root) in os.readlink(f"/proc/self/fd/{arguments[0]}"):
                self._look()

        return recorded

    def _sync(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self._forget_removed()
            self.names[inode] = {
                each.name: (
                    each.stat().st_ino,
                    None if each.is_dir() else self.synced.get(each.stat().st_ino, b""),
                )
                for each in path.iterdir()
            }
        else:
            self.synced[inode] = path.read_bytes()
            for held in self.names.values():
                for name, (other, content) in held.items():
                    if other == inode and content is not None:
                        held[name] = inode, self.synced[inode]

    def _forget_removed(self) -> None:
        """Number of removed files are given to new ones, which have nothing on the disk."""
        here = {path.stat().st_ino for path in self.root.rglob("*")}
        for inode in self.known - here:
            self.synced.pop(inode, None)
        for path in self.root.rglob("*"):
            if path.is_dir() and path.stat().st_ino not in self.known:
                self.names[path.stat().st_ino] = {}
        self.known = here

    def _look(self) -> None:
        self._forget_removed()
        here: Tree = {
            path.relative_to(self.root).as_posix(): None
            if path.is_dir()
            else self.synced.get(path.stat().st_ino, b"")
            for path in sorted(self.root.rglob("*"))
        }
        self.moments.append((self.mark(), here, self._named(self.root.stat().st_ino)))

    def _named(self, inode: int) -> Tree:
        tree: Tree = {}
        for name, (other, content) in self.names.get(inode, {}).items():
            tree[name] = content
            if content is None:
                tree |= {f"{name}/{below}": held for below, held in self._named(other).items()}
        return tree


def restore(tree: Tree, root: Path) -> None:
    """Make a folder with what a disk held."""
    root.mkdir()
    for name, content in sorted(tree.items()):
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)


def tree_of(root: Path) -> Tree:
    """What a folder holds now."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }
