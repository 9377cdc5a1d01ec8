"""Errors a user can act on; every message ends with what to do."""

from __future__ import annotations

from augsynth.core.text import printable


class AugsynthError(Exception):
    """Base of every error that the command line prints as one line; `exit_code` is its exit code.

    Text of others in the message (names, paths) can't steer a terminal: what would is written out.
    """

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(str(message)))


class ConfigError(AugsynthError):
    """An option or configuration key is wrong; raised before any model loads."""


class DatasetError(AugsynthError):
    """A dataset file, image or annotation can't be used as it is."""


class BackendError(AugsynthError):
    """A model can't be loaded or run."""


class ResumeError(AugsynthError):
    """An output directory can't be continued with this configuration."""


class FinishedError(ResumeError):
    """A process that a launcher started beside others found their run finished: nothing is left to do."""

    exit_code = 0


class LowYieldError(AugsynthError):
    """A run stopped before its aim, since hardly anything is accepted; the user decides whether it goes on."""

    exit_code = 3


class OutputError(AugsynthError):
    """A file or folder can't be written: the disk is full or read-only, or the place is gone."""
