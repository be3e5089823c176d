"""``trials.jsonl``: what a search has found out, on disk line by line, so that a killed search goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import DataFormatError, OutputError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.files.complete_io import sync_handle
from dlrm_pl.quantization.recipe import Recipe
from dlrm_pl.quantization.search.sealed_line import opened, seal, sealed
from dlrm_pl.quantization.search.trial import Trial

log = logging.getLogger(__name__)

FORMAT = 4
_WITH_LOSSES = 3
"""The format in which drops of the score were called losses. It is read, and written anew in this format."""
_RENAMED = {"loss": "drop", "left_out": "too_small"}
_OF_SLICES = ("higher_is_better", "slice", "slices", "left_out", "degrees_of_freedom")


class TrialLog:
    """The finished trials of one search, by recipe, and what its strategy measured, by name.

    Each line is written and forced to disk before the search goes on, with a checksum over it, its number and what the
    search is. A line that a kill cut short is dropped, and so is one that was altered, moved, or is of another search.
    A file of another model, other rows or other settings is set aside, under a name with a number.

    Args:
        path: of the file; None keeps everything in memory alone.
        identity: what the results depend on, plain JSON types. Limits of time and of trials are not among it, so a
            search can go on with more.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self._path = path
        # As it will be read back, tuples as lists.
        self._identity: dict[str, Any] = json.loads(json.dumps(identity or {}))
        self._seal = seal(self._identity)
        self._lines = 0
        self._trials: dict[Recipe, Trial] = {}
        self._notes: dict[str, Any] = {}
        self._siblings: set[Path] = set()
        if path is not None:
            try:
                self._open(path)
            except OSError as error:
                raise OutputError(f"{path}: the log of trials cannot be used ({error.strerror}).") from error

    def __len__(self) -> int:
        """Finished trials."""
        return len(self._trials)

    def sibling_path(self, name: str) -> Path | None:
        """Where another record of the same search belongs, which goes with the log; None in memory.

        What an earlier search left there is removed the first time that it is asked for.
        """
        if self._path is None:
            return None
        path = self._path.with_name(f"{self._path.stem}.{name}")
        if path not in self._siblings:
            path.unlink(missing_ok=True)
            self._siblings.add(path)
        return path

    def find(self, recipe: Recipe) -> Trial | None:
        """The trial of a recipe, if it was finished before."""
        return self._trials.get(recipe)

    def add(self, trial: Trial) -> None:
        """Keep a finished trial."""
        self._trials[trial.recipe] = trial
        self._write({"kind": "trial"} | trial.to_dict())

    @property
    def notes(self) -> Mapping[str, Any]:
        """What was measured so far, by name."""
        return self._notes

    def cached(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` returned when it was first asked for under this name: plain JSON types.

        So that a resumed search neither repeats what its strategy measured nor decides by other numbers.
        """
        if name not in self._notes:
            value = json.loads(json.dumps(measure()))
            self._notes[name] = value
            self._write({"kind": "note", "name": name, "value": value})
        return self._notes[name]

    def discard(self) -> None:
        """Remove the file and what is beside it: the search is over."""
        for path in self._siblings if self._path is None else {self._path, *self._siblings}:
            path.unlink(missing_ok=True)

    def discard_if_empty(self) -> None:
        """Remove the file if there is nothing in it to go on from: the search failed before its first trial."""
        if not self._trials and not self._notes:
            self.discard()

    def _open(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            log.warning("%s: its last line was cut short, by a kill or a full disk, and is dropped", path)
        lines = whole.split(b"\n")[:-1]
        if lines and (reason := self._reason_to_set_aside(lines[0])) is not None:
            aside = _free_name(path)
            path.rename(aside)
            log.warning("%s: not continued, %s; kept as %s", path, reason, aside.name)
            lines = []
        if not lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            self._write(self._head())
            return
        good = self._take(path, lines[1:])
        self._lines = len(lines)
        if len(good) < len(lines) - 1 or lines[0] != sealed(self._head(), 1, self._seal):
            self._write_anew(path, good)
        elif len(whole) < len(content):
            with path.open("r+b") as handle:
                handle.truncate(len(whole))
                sync_handle(handle)
        if self._trials:
            log.info("%s: going on after %d finished trials", path, len(self._trials))

    def _head(self, version: int = FORMAT) -> dict[str, Any]:
        return {"kind": "search", "format": version, "identity": self._identity}

    def _reason_to_set_aside(self, line: bytes) -> str | None:
        """Why a log that begins with this line is not continued; None when it is."""
        if line in (sealed(self._head(version), 1, self._seal) for version in (FORMAT, _WITH_LOSSES)):
            return None
        try:
            head = parse_json(line, str(self._path), DataFormatError, "")
            kind, version, theirs = head["kind"], head["format"], dict(head["identity"])
        except (DataFormatError, ValueError, KeyError, TypeError):
            kind, version, theirs = None, None, {}
        if kind != "search":
            return "it does not begin as a log of trials does"
        if version not in (FORMAT, _WITH_LOSSES):
            return f"it has format {version!r}, and this version reads {_WITH_LOSSES} and {FORMAT}"
        if opened(line, seal(theirs))[1] is None:
            return "its first line was altered after it was written: the checksum does not match"
        difference = _first_difference(theirs, self._identity)
        assert difference is not None, "two identities without a difference have one seal"
        name, before, now = difference
        return f"its {name.replace('_', ' ')} is {before!r} and now {now!r}"

    def _take(self, path: Path, lines: list[bytes]) -> list[dict[str, Any]]:
        """Keep what the lines behind the first say.

        Returns:
            Those that are as they were written, and behind all that were written before them.
        """
        good: list[dict[str, Any]] = []
        last = 1
        for number, line in enumerate(lines, 2):
            stated, values = opened(line, self._seal)
            if values is None:
                log.warning(
                    "%s: line %d was altered after it was written, its checksum does not match: it is dropped, and "
                    "what it said is found out again",
                    *(path, number),
                )
                continue
            if stated <= last:
                log.warning("%s: line %d was written as line %d, and is dropped: it was moved", path, number, stated)
                continue
            last = stated
            values = _with_drops(values)
            good.append(values)
            if values["kind"] == "note":
                self._notes[values["name"]] = values["value"]
            else:
                trial = Trial.from_dict(values)
                self._trials[trial.recipe] = trial
        return good

    def _write_anew(self, path: Path, good: list[dict[str, Any]]) -> None:
        """Write the log with these lines alone; as it was, it is set aside."""
        aside = _free_name(path)
        path.rename(aside)
        log.warning("%s: the log as it was is kept as %s", path, aside.name)
        entries = [self._head(), *good]
        with atomic_file(path, "wb") as handle:
            for number, values in enumerate(entries, 1):
                handle.write(sealed(values, number, self._seal) + b"\n")
        self._lines = len(entries)

    def _write(self, values: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("ab") as handle:
                handle.write(sealed(values, self._lines + 1, self._seal) + b"\n")
                sync_handle(handle)
        except OSError as error:
            raise OutputError(f"{self._path}: the log of trials cannot be written ({error.strerror}).") from error
        self._lines += 1


def _with_drops(values: Any) -> Any:
    """A line of format 3 under the names of this format; a line of this format as it is."""
    if isinstance(values, list):
        return [_with_drops(value) for value in values]
    if not isinstance(values, dict):
        return values
    if values.get("slice") == "":  # A guard of all rows, which had the fields of the worst slice as well.
        values = {name: value for name, value in values.items() if name not in _OF_SLICES}
    return {_RENAMED.get(name, name): _with_drops(value) for name, value in values.items()}


def _first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Name (``criterion.relative``) and both values of the first entry that differs."""
    for name in {**theirs, **ours}:
        before, now = theirs.get(name), ours.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            found = _first_difference(before, now)
            if found is not None:
                return f"{name}.{found[0]}", *found[1:]
        else:
            return name, before, now
    return None


def _free_name(path: Path) -> Path:
    """The name with the smallest free number behind it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return aside
