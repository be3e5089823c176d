"""The folder of an unfinished run, and the state from which a killed run goes on.

``.NAME.partial`` beside the output holds the buckets, the vocabulary so far and ``state.json``, which says how far all
of them are good. Files only grow behind what the state says, so going on means cutting them back to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dlrm_pl.data.formats.dataset_folder import recognize_dataset
from dlrm_pl.documents.fields import make
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import DataFormatError, DLRMError, OutputError
from dlrm_pl.files.atomic import replace_folder
from dlrm_pl.files.complete_io import sync_handle, sync_path

log = logging.getLogger(__name__)

FORMAT = 2
STATE_NAME = "state.json"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass
class State:
    """How far a run is.

    Attributes:
        key: options and inputs, for JSON; another run's state is of no use.
        buckets: files that the training rows are scattered into.
        phase: ``scatter``: reading the logs; ``merge``: writing the splits.
        day: to be read next.
        offset: byte of that day's file.
        line: lines of that day's file before ``offset``.
        blank_line: number of the first of the blank lines that end what was read, 0: none.
        read_rows: before ``offset``, over all days.
        kept_rows: of those.
        file_bytes: good bytes of each growing file, by name.
        table_sizes: values of each table in its file.
        unknown_values: categories that the vocabulary does not have.
        rejected: lines left out, by kind.
        generation: names the files that are rewritten with each state.
        merged: buckets that are in train already, and deleted.
        train_bytes: good bytes of train.
    """

    key: dict[str, Any]
    buckets: list[int]
    phase: Literal["scatter", "merge"] = "scatter"
    day: int = 0
    offset: int | None = None
    line: int = 0
    blank_line: int = 0
    read_rows: int = 0
    kept_rows: int = 0
    file_bytes: dict[str, int] = field(default_factory=dict)
    table_sizes: list[int] = field(default_factory=list)
    unknown_values: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    merged: int = 0
    train_bytes: int = 0


class CheckpointFolder:
    """The files of an unfinished run.

    Args:
        output: the folder that the run will make; the caller holds its lock.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.parent / f".{output.name}.partial"

    @property
    def finished(self) -> Path:
        """The folder that becomes the output."""
        return self.path / "out"

    def load(self) -> State | None:
        """The state, None where there is none that this version can use."""
        try:
            contents = read_json(self.path / STATE_NAME, DataFormatError, "")
            if not isinstance(contents, dict) or contents.get("format") != FORMAT:
                return None
            if contents.get("checksum") != _checksum(contents.get("state")):
                log.warning("starting afresh: %s is damaged", self.path / STATE_NAME)
                return None
            return make(State, contents.get("state"), STATE_NAME, DataFormatError, "")
        except DataFormatError:
            return None

    def load_for(self, key: Mapping[str, Any]) -> State | None:
        """The state of an unfinished run with the same key; says why there is none when another one was left."""
        state = self.load()
        if state is not None and state.key != key:
            log.info("starting afresh: %s", "; ".join(differences(state.key, key)) or "the unfinished run was another")
            return None
        return state

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Of files that an unfinished run has left, which may be damaged.

        Raises:
            DataFormatError: one is; says how to start afresh.
        """
        try:
            yield
        except (*_DAMAGED, DLRMError) as error:
            raise DataFormatError(
                f"{self.path}: the unfinished run cannot be gone on with ({error}). Delete it to start afresh."
            ) from error

    def start(self) -> None:
        """Make it, empty.

        Raises:
            OutputError: not allowed.
        """
        try:
            self.remove()
            self.finished.mkdir(parents=True)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror}). Choose an output folder that you may write."
            ) from error

    def resume(self, state: State) -> None:
        """Cut every growing file back to what the state says.

        Raises:
            DataFormatError: one is missing or shorter.
        """
        for name, size in state.file_bytes.items():
            path = self.path / name
            if not path.resolve().is_relative_to(self.path.resolve()):
                raise DataFormatError(f"{self.path / STATE_NAME}: names {name!r}, which is not a file of the run.")
            if not path.is_file() or path.stat().st_size < size:
                raise DataFormatError(f"{path}: is missing or cut short. Delete {self.path} to start afresh.")
            os.truncate(path, size)

    def commit(self, state: State) -> None:
        """Make a state the one to go on from. What it speaks of must be on the disk before."""
        temporary = self.path / f"{STATE_NAME}.tmp"
        with temporary.open("w", encoding="utf-8") as handle:
            contents = dataclasses.asdict(state)
            json.dump({"format": FORMAT, "state": contents, "checksum": _checksum(contents)}, handle)
            sync_handle(handle)
        temporary.rename(self.path / STATE_NAME)
        sync_path(self.path)

    def publish(self, output: Path) -> None:
        """Put the finished folder in its place and leave nothing else."""
        for path in self.finished.iterdir():
            sync_path(path)
        replace_folder(output, self.finished, recognize_dataset)
        self.remove()

    def size_bytes(self) -> int:
        """What it takes on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def remove(self) -> None:
        """Delete it."""
        if self.path.exists():
            shutil.rmtree(self.path)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed from one run's key to another's, for people."""
    if not _is_key(old):
        return ["what it was made from cannot be read"]
    found = [
        f"{name} was {old['options'].get(name)}, is now {value}"
        for name, value in new["options"].items()
        if old["options"].get(name) != value
    ]
    before, after = ({one["file"]: one for one in key["inputs"]} for key in (old, new))
    found += [f"{file} is not an input any more" for file in before if file not in after]
    for file, one in after.items():
        if file not in before:
            found.append(f"{file} is a new input")
        elif before[file] != one:
            found.append(f"{file} was changed")
    return found


def _checksum(state: object) -> str:
    """Of a state as it stands in its file."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _is_key(key: object) -> bool:
    """Whether it has the shape of one: it comes from a file."""
    if not isinstance(key, Mapping):
        return False
    options, inputs = key.get("options"), key.get("inputs")
    return (
        isinstance(options, Mapping)
        and isinstance(inputs, list)
        and all(isinstance(one, Mapping) and isinstance(one.get("file"), str) for one in inputs)
    )
