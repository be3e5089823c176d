"""``trials.jsonl``: results of a search, written line by line, so that a killed search can be resumed."""

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
from dlrm_pl.quantization.search.trials.sealed_line import opened, seal, sealed
from dlrm_pl.quantization.search.trials.trial import Trial

log = logging.getLogger(__name__)

FORMAT = 4
_WITH_LOSSES = 3
"""The format in which drops of the score were called losses; it is read, and rewritten in the present format."""
_RENAMED = {"loss": "drop", "left_out": "too_small"}
_OF_SLICES = ("higher_is_better", "slice", "slices", "left_out", "degrees_of_freedom")


class TrialLog:
    """Finished trials of one search by recipe, and the measurements of its strategy by name.

    Each line is forced to disk before the search continues. Its checksum covers the line, its number and the identity
    of the search. A line that was cut short by a kill is dropped, and so is one that was altered, moved, or copied from
    another search. A file of another model, other rows or other settings is renamed, with a number appended to its
    name.

    Args:
        path: path of the file; None keeps everything in memory.
        identity: everything that the results depend on, in plain JSON types. The limits on time and trials are not part
            of it, so that a search can be resumed with larger ones.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self._path = path
        # As it will be read back: tuples become lists.
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
                raise OutputError(f"{path}: the trial log cannot be used ({error.strerror}).") from error

    def __len__(self) -> int:
        """Number of finished trials."""
        return len(self._trials)

    def sibling_path(self, name: str) -> Path | None:
        """Return the path of another record of the same search, which is removed with the log; None in memory.

        A file that an earlier search left there is deleted at the first call.
        """
        if self._path is None:
            return None
        path = self._path.with_name(f"{self._path.stem}.{name}")
        if path not in self._siblings:
            path.unlink(missing_ok=True)
            self._siblings.add(path)
        return path

    def find(self, recipe: Recipe) -> Trial | None:
        """Return the trial of a recipe, if it was finished before."""
        return self._trials.get(recipe)

    def add(self, trial: Trial) -> None:
        """Write a finished trial."""
        self._trials[trial.recipe] = trial
        self._write({"kind": "trial"} | trial.to_dict())

    @property
    def notes(self) -> Mapping[str, Any]:
        """Measurements so far, by name."""
        return self._notes

    def cached(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what ``measure`` returned when it was first called under this name, in plain JSON types.

        This way, a resumed search neither repeats its strategy's measurements nor decides by different numbers.
        """
        if name not in self._notes:
            value = json.loads(json.dumps(measure()))
            self._notes[name] = value
            self._write({"kind": "note", "name": name, "value": value})
        return self._notes[name]

    def discard(self) -> None:
        """Remove the file and its siblings when the search is over."""
        for path in self._siblings if self._path is None else {self._path, *self._siblings}:
            path.unlink(missing_ok=True)

    def discard_if_empty(self) -> None:
        """Remove the file if nothing in it could be resumed, because the search failed before its first trial."""
        if not self._trials and not self._notes:
            self.discard()

    def _open(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            log.warning(
                "%s: the last line is incomplete (the run was killed, or the disk was full) and is dropped", path
            )
        lines = whole.split(b"\n")[:-1]
        if lines and (reason := self._reason_to_set_aside(lines[0])) is not None:
            aside = _free_name(path)
            path.rename(aside)
            log.warning("%s: not resumed, because %s; renamed to %s", path, reason, aside.name)
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
            log.info("%s: resuming; trials finished before: %d", path, len(self._trials))

    def _head(self, version: int = FORMAT) -> dict[str, Any]:
        return {"kind": "search", "format": version, "identity": self._identity}

    def _reason_to_set_aside(self, line: bytes) -> str | None:
        """Say why a log with this first line cannot be resumed; None if it can."""
        if line in (sealed(self._head(version), 1, self._seal) for version in (FORMAT, _WITH_LOSSES)):
            return None
        try:
            head = parse_json(line, str(self._path), DataFormatError, "")
            kind, version, theirs = head["kind"], head["format"], dict(head["identity"])
        except (DataFormatError, ValueError, KeyError, TypeError):
            kind, version, theirs = None, None, {}
        if kind != "search":
            return "its first line is not that of a trial log"
        if version not in (FORMAT, _WITH_LOSSES):
            return f"its format is {version!r}, but this version reads {_WITH_LOSSES} and {FORMAT}"
        if opened(line, seal(theirs))[1] is None:
            return "the checksum of its first line does not match: the line was altered"
        difference = _first_difference(theirs, self._identity)
        assert difference is not None, "equal identities have the same seal"
        name, before, now = difference
        return f"its {name.replace('_', ' ')} was {before!r} and is now {now!r}"

    def _take(self, path: Path, lines: list[bytes]) -> list[dict[str, Any]]:
        """Read the lines after the first.

        Returns:
            Values of the lines that are unaltered and in their original place.
        """
        good: list[dict[str, Any]] = []
        last = 1
        for number, line in enumerate(lines, 2):
            stated, values = opened(line, self._seal)
            if values is None:
                log.warning(
                    "%s: line %d was altered (its checksum does not match); it is dropped, and its trial is repeated",
                    path,
                    number,
                )
                continue
            if stated <= last:
                log.warning("%s: line %d was written as line %d, so it was moved; it is dropped", path, number, stated)
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
        """Write the log again with these lines only, and keep the old file under another name."""
        aside = _free_name(path)
        path.rename(aside)
        log.warning("%s: the original log is kept as %s", path, aside.name)
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
            raise OutputError(f"{self._path}: the trial log cannot be written ({error.strerror}).") from error
        self._lines += 1


def _with_drops(values: Any) -> Any:
    """Return a line of format 3 with the names of the present format; a line of the present format is unchanged."""
    if isinstance(values, list):
        return [_with_drops(value) for value in values]
    if not isinstance(values, dict):
        return values
    if values.get("slice") == "":  # A guard on all rows, which also had the fields of the worst slice.
        values = {name: value for name, value in values.items() if name not in _OF_SLICES}
    return {_RENAMED.get(name, name): _with_drops(value) for name, value in values.items()}


def _first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Find the first entry that differs: its name (``criterion.relative``) and both values."""
    for name in {**theirs, **ours}:
        before, now = theirs.get(name), ours.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            difference = _first_difference(before, now)
            if difference is not None:
                return f"{name}.{difference[0]}", *difference[1:]
        else:
            return name, before, now
    return None


def _free_name(path: Path) -> Path:
    """Return the path with the smallest unused number behind its name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return aside
