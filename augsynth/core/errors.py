"""Errors a user can act on; every message ends with what to do."""


class AugsynthError(Exception):
    """Base of every error that the command line prints as one line with exit code 2."""


class ConfigError(AugsynthError):
    """An option or configuration key is wrong; raised before any model loads."""


class DatasetError(AugsynthError):
    """A dataset file, image or annotation can't be used as it is."""


class BackendError(AugsynthError):
    """A model can't be loaded or run."""


class ResumeError(AugsynthError):
    """An output directory can't be continued with this configuration."""
