"""Errors a user can mend: one base, and a message that is safe to print."""

import pytest

from augsynth.core import errors


@pytest.mark.parametrize("kind", ["ConfigError", "DatasetError", "BackendError", "ResumeError"])
def test_every_error_is_caught_by_its_base_and_cannot_steer_a_terminal(kind: str) -> None:
    with pytest.raises(errors.AugsynthError) as caught:
        raise getattr(errors, kind)("a\x1b[2Jb.json: é is no number")
    assert str(caught.value) == "a\\x1b[2Jb.json: é is no number"
