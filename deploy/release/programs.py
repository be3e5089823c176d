"""Run other programs, and show what they wrote only if they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from deploy.release.problem import ReleaseError


def run(
    command: Sequence[str | Path],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    allowed: Collection[int] = (0,),
    timeout: float = 3600,
) -> str:
    """Run a program and return its output.

    Args:
        command: the program and its arguments.
        folder: where it runs; the current folder if None.
        environment: variables that it gets beside those of this process.
        allowed: exit statuses of a success.
        timeout: seconds after which it is ended.

    Raises:
        ReleaseError: it ended with another status, or is not there; with the end of what it wrote.
    """
    line = " ".join(map(str, command))
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise ReleaseError(f"`{line}` cannot be run: {error}") from error
    if ended.returncode not in allowed:
        raise ReleaseError(f"`{line}` ended with {ended.returncode}:\n{(ended.stdout + ended.stderr)[-4000:]}")
    return ended.stdout
