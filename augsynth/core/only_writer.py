"""One writer of a folder at a URL: another one is refused, one that was killed is followed."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid

from augsynth.core.errors import ConfigError, OutputError, ResumeError
from augsynth.core.storage import Remote

SIGN = "writing.json"  # file in the folder
BEAT_S = 5.0  # seconds after which a writer shows that it is there
_BEATS = 4  # without a sign, after which a writer is taken for gone


class OnlyWriter:
    """The only writer of a folder at a URL: a file there says so, and is written again every few seconds.

    Who finds it waits whether it is written again; so clocks needn't agree.

    Args:
        there: The folder.

    Raises:
        ResumeError: Another process writes there.
    """

    def __init__(self, there: Remote) -> None:
        self._there, self._me = there, uuid.uuid4().hex
        self._beat, self._gone = 0, threading.Event()
        self._lost = False
        if not there.write(SIGN, self._sign(), new=True):
            before = there.read(SIGN)
            time.sleep(_BEATS * BEAT_S)
            if there.read(SIGN) != before:
                raise self._refusal()
            there.write(SIGN, self._sign())
            time.sleep(BEAT_S / 4)
            if not self._is_own():
                raise self._refusal()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise unless this process still is the only writer.

        Raises:
            ResumeError: Another one has taken it for gone.
        """
        if self._lost:
            raise self._refusal()

    def end(self) -> None:
        """Let others write."""
        self._gone.set()
        self._thread.join()
        if not self._lost:
            self._there.remove([SIGN])

    def _show(self) -> None:
        while not self._gone.wait(BEAT_S):
            with contextlib.suppress(OutputError, ConfigError):  # seen where the next file is written
                if not self._is_own():
                    self._lost = True
                    return
                self._beat += 1
                self._there.write(SIGN, self._sign())

    def _is_own(self) -> bool:
        text = self._there.read(SIGN)
        return text is None or self._me.encode() in text

    def _sign(self) -> bytes:
        return json.dumps({"writer": self._me, "beat": self._beat}).encode()

    def _refusal(self) -> ResumeError:
        return ResumeError(
            f"{self._there.url}: another run is writing here; wait for it or choose another --out"
        )
