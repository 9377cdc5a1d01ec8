"""Run a command of the tool in a process of its own."""

import subprocess
import sys

from augsynth.commands.generate import SHORT


def run_augsynth(*words: object) -> None:
    """Run `augsynth …`; a `generate` that made fewer objects than were wanted is a result like others.

    Raises:
        CalledProcessError: The command failed.
    """
    command = [sys.executable, "-m", "augsynth", *map(str, words)]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, SHORT):
        raise subprocess.CalledProcessError(code, command)
