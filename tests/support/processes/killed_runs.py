"""Runs of preprocessing that end at a checkpoint as if they had been killed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dlrm_pl.data.preprocessing.checkpoint import CheckpointFolder


class Killed(BaseException):
    """A stand-in for a signal that kills the process."""


@contextmanager
def killed_at_checkpoint(number: int, *, before: bool) -> Iterator[None]:
    """End the run inside a ``with`` block before or after one of its checkpoints, without any cleanup."""
    commits = itertools.count()
    real = CheckpointFolder.commit

    def commit(self: CheckpointFolder, state: object) -> None:
        due = next(commits) == number
        if due and before:
            raise Killed
        real(self, state)  # type: ignore[arg-type]
        if due:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointFolder, "commit", commit)
        patch.setattr(CheckpointFolder, "remove", lambda self: None)
        patch.setattr(CheckpointFolder, "start", lambda self: self.finished.mkdir(parents=True))
        with pytest.raises(Killed):
            yield
