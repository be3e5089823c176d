"""Folder of an unfinished run, and the state from which a killed run resumes.

``.NAME.partial`` next to the output holds the buckets, the vocabulary so far and ``state.json``, which states how many
bytes of each file are valid. Files only grow beyond these sizes, so to resume, they are truncated to them.
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

from dlrm_pl.data.formats.finished_dataset import recognize_dataset
from dlrm_pl.documents.fields import make
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import DataFormatError, DLRMError, OutputError
from dlrm_pl.files.atomic import replace_folder
from dlrm_pl.files.complete_io import sync_handle, sync_path
from dlrm_pl.files.sizes import format_bytes

log = logging.getLogger(__name__)

FORMAT = 3
STATE_NAME = "state.json"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass
class State:
    """Progress of a run.

    Attributes:
        key: options and inputs of the run, as JSON values; a run with another key cannot use this state.
        buckets: number of files that the training rows are scattered into, for all days together or for each day.
        phase: ``scatter`` while the logs are read, ``merge`` while the splits are written.
        day: number of the day to read next.
        offset: byte of that day's text at which reading continues; None: its beginning.
        line: number of lines of that day's file before ``offset``.
        blank_line: line number of the first of the trailing blank lines read so far; 0 if there are none.
        file: number of the file to read next, for a log of files with named columns.
        row: number of the row of that file at which reading continues.
        read_rows: number of rows read so far, over all days.
        kept_rows: number of these rows that the subsample kept.
        file_bytes: valid bytes of each growing file, by name.
        table_sizes: number of values of each table in the table's file.
        cut_lists: number of lists that were cut.
        unknown_values: number of category values that are not in the vocabulary.
        rejected: number of rows left out, by kind.
        generation: number in the names of the files that are rewritten with every state.
        merged: number of buckets that have been written to train and deleted.
        train_bytes: valid bytes of train.
    """

    key: dict[str, Any]
    buckets: list[int]
    phase: Literal["scatter", "merge"] = "scatter"
    day: int = 0
    offset: int | None = None
    line: int = 0
    blank_line: int = 0
    file: int = 0
    row: int = 0
    read_rows: int = 0
    kept_rows: int = 0
    file_bytes: dict[str, int] = field(default_factory=dict)
    table_sizes: list[int] = field(default_factory=list)
    cut_lists: int = 0
    unknown_values: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    merged: int = 0
    train_bytes: int = 0


class CheckpointFolder:
    """The folder that holds the files of an unfinished run.

    Args:
        output: folder that the run will make; the caller holds its lock.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.parent / f".{output.name}.partial"

    @property
    def finished(self) -> Path:
        """Folder that becomes the output."""
        return self.path / "out"

    def load(self) -> State | None:
        """Return the saved state, or None if there is none that this version can use."""
        try:
            contents = read_json(self.path / STATE_NAME, DataFormatError, "")
            if not isinstance(contents, dict) or contents.get("format") != FORMAT:
                return None
            if contents.get("checksum") != _checksum(contents.get("state")):
                log.warning("starting over: %s is corrupt", self.path / STATE_NAME)
                return None
            return make(State, contents.get("state"), STATE_NAME, DataFormatError, "")
        except DataFormatError:
            return None

    def load_for(self, key: Mapping[str, Any]) -> State | None:
        """Return the state of an unfinished run with the same key; logs why another one cannot be resumed."""
        state = self.load()
        if state is not None and state.key != key:
            log.info(
                "starting over: %s", "; ".join(differences(state.key, key)) or "the unfinished run was a different one"
            )
            return None
        return state

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn any error while reading an unfinished run's files into one that says how to start over.

        Raises:
            DataFormatError: a file is corrupt.
        """
        try:
            yield
        except (*_UNREADABLE, DLRMError) as error:
            raise DataFormatError(
                f"{self.path}: the unfinished run cannot be resumed ({error}). Delete this folder to start over."
            ) from error

    def start(self) -> None:
        """Create the folder, empty.

        Raises:
            OutputError: the folder cannot be written.
        """
        try:
            self.remove()
            self.finished.mkdir(parents=True)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written ({error.strerror}). Choose an output folder that you can write to."
            ) from error

    def resume(self, state: State) -> None:
        """Truncate every growing file to its valid bytes.

        Raises:
            DataFormatError: a file is missing or too short.
        """
        for name, size in state.file_bytes.items():
            path = self.path / name
            if not path.resolve().is_relative_to(self.path.resolve()):
                raise DataFormatError(
                    f"{self.path / STATE_NAME}: names {name!r}, which is outside the folder. Delete the folder."
                )
            if not path.is_file() or path.stat().st_size < size:
                raise DataFormatError(f"{path}: is missing or truncated. Delete {self.path} to start over.")
            os.truncate(path, size)

    def commit(self, state: State) -> None:
        """Save the state from which a killed run resumes; the files that it describes must already be on disk."""
        temporary = self.path / f"{STATE_NAME}.tmp"
        with temporary.open("w", encoding="utf-8") as handle:
            contents = dataclasses.asdict(state)
            json.dump({"format": FORMAT, "state": contents, "checksum": _checksum(contents)}, handle)
            sync_handle(handle)
        temporary.rename(self.path / STATE_NAME)
        sync_path(self.path)

    def publish(self, output: Path) -> None:
        """Move the finished folder to its place and delete the rest."""
        for path in self.finished.iterdir():
            sync_path(path)
        replace_folder(output, self.finished, recognize_dataset)
        self.remove()

    def keep(self) -> str:
        """Keep a state that can be resumed, or delete it otherwise; returns a sentence that says which."""
        if self.load() is None:
            self.remove()
            return "Nothing is kept: the run had not reached its first checkpoint."
        return f"{self.path} keeps {format_bytes(self.size_bytes())}; run the same command to resume."

    def size_bytes(self) -> int:
        """Return the bytes that the folder takes on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def remove(self) -> None:
        """Delete the folder."""
        if self.path.exists():
            shutil.rmtree(self.path)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Describe the changes from one run's key to another's."""
    if not _is_key(old):
        return ["its inputs cannot be read"]
    changes = [
        f"{name} changed from {old['options'].get(name)} to {value}"
        for name, value in new["options"].items()
        if old["options"].get(name) != value
    ]
    before, after = ({entry["file"]: entry for entry in key["inputs"]} for key in (old, new))
    changes += [f"{file} is no longer an input" for file in before if file not in after]
    for file, entry in after.items():
        if file not in before:
            changes.append(f"{file} is a new input")
        elif before[file] != entry:
            changes.append(f"{file} changed")
    return changes


def _checksum(state: object) -> str:
    """Return the checksum of a state in its JSON form."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _is_key(key: object) -> bool:
    """Return whether a value that was read from a file has the shape of a key."""
    if not isinstance(key, Mapping):
        return False
    options, inputs = key.get("options"), key.get("inputs")
    return (
        isinstance(options, Mapping)
        and isinstance(inputs, list)
        and all(isinstance(entry, Mapping) and isinstance(entry.get("file"), str) for entry in inputs)
    )
