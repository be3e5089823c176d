"""Folder of a sweep: its contents, the sweep that continues in it, and its files."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dlrm_pl.documents.json_text import object_with
from dlrm_pl.errors import OutputError
from dlrm_pl.files.atomic import atomic_file, atomic_folder
from dlrm_pl.files.destinations import resolved
from dlrm_pl.files.locks import folder_lock
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput, changes_of
from dlrm_pl.sweep.trial import Trial

SETTINGS, JOURNAL, TRIALS, BEST, PICTURE = "sweep.json", "optuna.journal", "trials.csv", "best.yaml", "sweep.png"
_WRITTEN = (TRIALS, BEST, PICTURE, JOURNAL, f"{JOURNAL}.lock")
_FORMAT = 1


def recognize_sweep(folder: Path) -> FinishedOutput | None:
    """Read a folder's description of its sweep; None if there is none."""
    stated = object_with(folder / SETTINGS, "sweep")
    if stated is None:
        return None
    settings = stated.get("settings")
    # Files that a killed run was writing.
    begun = re.compile(rf"\.({'|'.join(map(re.escape, _WRITTEN))})\.\d+\.tmp")
    left = [path.name for path in folder.iterdir() if begun.fullmatch(path.name)] if folder.is_dir() else []
    return FinishedOutput(
        "a sweep",
        "sweep",
        settings if isinstance(settings, dict) else None,
        (
            *_WRITTEN,
            *left,
            SETTINGS,
        ),
    )


@contextmanager
def sweep_folder(folder: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """Hold the folder of a sweep, which is created, or was created by an earlier run with the same settings.

    Args:
        folder: the folder.
        settings: settings that the scores of trials depend on, in plain JSON types.
        overwrite: whether a sweep with other settings may be replaced.

    Yields:
        The path, with links followed.

    Raises:
        OutputError: the folder holds something else, or a sweep with other settings, which the message names; or
            another process is writing to it.
    """
    settings = json.loads(json.dumps(settings))
    planned = PlannedOutput("sweep", settings, recognize_sweep, overwrite, _changes)
    planned.check(folder)
    place = resolved(folder)
    if recognize_sweep(place) is None or not _goes_on(folder, planned):
        with atomic_folder(folder, planned) as new:
            (new / SETTINGS).write_text(json.dumps({"sweep": _FORMAT, "settings": settings}, indent=2) + "\n")
    with folder_lock(place):
        # Checked again, since another process may have replaced it meanwhile.
        replace(planned, overwrite=False).check(folder)
        yield place


def _goes_on(folder: Path, planned: PlannedOutput) -> bool:
    """Whether the sweep in a folder has the same settings, so that it need not be replaced."""
    try:
        replace(planned, overwrite=False).check(folder)
    except OutputError:
        return False
    return True


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Describe the settings that differ, also those that one of the sweeps does not have."""
    return changes_of(_completed(old, new), new)


def _completed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old settings, with None for those that only the new ones have."""
    completed: dict[str, Any] = {}
    for name in {**old, **new}:
        before, now = old.get(name), new.get(name)
        is_group = isinstance(before, Mapping) and isinstance(now, Mapping)
        completed[name] = _completed(dict(before or {}), dict(now or {})) if is_group else before
    return completed


def write_trials(folder: Path, trials: list[Trial], names: list[str]) -> None:
    """Write ``trials.csv``: one line per trial, with its settings."""
    with atomic_file(folder / TRIALS) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(
            ["trial", "state", "val_auroc", "validations", "rows", "seconds", "memory_bytes", *names, "reason"]
        )
        for trial in trials:
            auroc = "" if trial.auroc is None else f"{trial.auroc:.6f}"
            known = [trial.number, trial.state, auroc, len(trial.scores), trial.rows, trial.seconds]
            values = [_cell(trial.values[name]) if name in trial.values else "" for name in names]
            writer.writerow([*known, trial.memory_bytes, *values, trial.reason])


def write_best(folder: Path, trial: Trial, values: Mapping[str, Any], command: str) -> None:
    """Write ``best.yaml``: the settings of a trial, which `fit` reads after its configuration.

    Args:
        folder: folder of the sweep.
        trial: the trial.
        values: its complete settings, by dotted names.
        command: command that reads the file.
    """
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    with atomic_file(folder / BEST) as handle:
        handle.write(f"# {command}\n# Trial {trial.number}, AUROC {trial.auroc:.6f} on val.\n")
        yaml.safe_dump(nested, handle, sort_keys=False, default_flow_style=None)


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
