"""Folders that tasks write: each appears whole or not at all, and a task whose folder exists has nothing to do."""

from __future__ import annotations

import dataclasses
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dlrm_pl.documents.fields import make
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.complete_io import sync_path

T = TypeVar("T")

ATTEMPT = "*.attempt"
"""Pattern of the names of folders that are being written."""

RESULT = "result.json"
"""Name of the file that is written last; a folder that has it is complete."""

_ADVICE = "Delete the folder of the unfinished run to start over."


def finished_result(kind: type[T], folder: Path) -> T | None:
    """Return the result of a finished task, or None."""
    path = folder / RESULT
    return make(kind, read_json(path, DataFormatError, _ADVICE), str(path), DataFormatError) if path.exists() else None


@contextmanager
def attempt(folder: Path, *, durable: bool) -> Iterator[Path]:
    """Yield a new folder, which becomes ``folder`` when the block ends without an error.

    Another machine that was thought to be lost may do the same work at the same time. Both write the same result, and
    the first one wins.

    Args:
        folder: folder of the result.
        durable: whether to wait until the folder is on the disk.
    """
    temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.attempt")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.rglob("*") if durable else ():
            sync_path(path)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / RESULT).exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_result(result: Any, folder: Path) -> None:
    """Write the result of a task, a dataclass, as the last file of its folder."""
    (folder / RESULT).write_text(json.dumps(dataclasses.asdict(result)), encoding="utf-8")
