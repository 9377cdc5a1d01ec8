"""One writer of a folder at a URL: clocks needn't agree, and one that was killed doesn't stay in the way."""

import time
from pathlib import Path

import pytest

from augsynth.core import only_writer
from augsynth.core.errors import ResumeError
from augsynth.core.only_writer import SIGN, OnlyWriter
from augsynth.core.storage import Remote
from tests.urls import s3, s3_server, url

__all__ = ["s3", "s3_server", "url"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(only_writer, "BEAT_S", 0.3)


def test_a_second_writer_is_refused_until_the_first_ends(url: str) -> None:
    first = OnlyWriter(Remote(url))
    with pytest.raises(ResumeError, match=f"{url}: another run is writing here; wait for it"):
        OnlyWriter(Remote(url))
    first.check()
    first.end()
    assert Remote(url).list() == {}
    OnlyWriter(Remote(url)).end()


def test_one_that_was_killed_is_followed(url: str) -> None:
    Remote(url).write(SIGN, b'{"writer": "of a machine whose clock is wrong", "beat": 7}')
    OnlyWriter(Remote(url)).end()
    assert Remote(url).list() == {}


def test_one_that_was_taken_for_gone_writes_no_more(url: str, tmp_path: Path) -> None:
    first = OnlyWriter(Remote(url))
    Remote(url).write(SIGN, b'{"writer": "another", "beat": 0}')
    until = time.monotonic() + 60
    while not first._lost and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(ResumeError, match="another run is writing here"):
        first.check()
    first.end()
    assert Remote(url).read(SIGN) == b'{"writer": "another", "beat": 0}'
