"""Finished folders that may be replaced: those of this program, made by the same command with the same settings.

Other folders of this program are replaced if the user says so. A folder with any file that this program did not write
is never replaced. To make this possible, every output describes itself: what it is, what it was made with, and which
files belong to it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_pl.errors import OutputError
from dlrm_pl.files.destinations import check_is_no_file, resolved

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedOutput:
    """A finished output's own description.

    Attributes:
        what: kind of output, with its article.
        made_by: command that made it.
        settings: settings that it was made with, as plain values; None if it states none. A run may replace it if the
            settings that both state are equal.
        names: names of all files in it that this program wrote; the file with the description comes last.
    """

    what: str
    made_by: str
    settings: Mapping[str, Any] | None
    names: tuple[str, ...]


Recognizer = Callable[[Path], FinishedOutput | None]
"""Function that reads the description in a folder; it returns None for a folder of another kind."""


def changes_of(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> list[str]:
    """Describe the settings of an earlier run that this run changes."""
    changes = []
    for name, before in old.items():
        now = new.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            changes += changes_of(before, now, f"{within}{name}.")
        elif before != now:
            changes.append(f"{within}{name} changed from {_short(before)} to {_short(now)}")
    return changes


@dataclass(frozen=True)
class PlannedOutput:
    """An output folder that is about to be written, and what it may replace.

    Attributes:
        by: command that writes it.
        settings: settings of the run, as JSON values; None if they are not known yet, so that they match no finished
            folder.
        recognize: function that reads the description in a folder of this kind.
        overwrite: whether a folder that was made with other settings may be replaced.
        changes: function that describes the differences between two settings.
    """

    by: str
    settings: Mapping[str, Any] | None
    recognize: Recognizer
    overwrite: bool = False
    changes: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]] = changes_of

    def check(self, folder: Path) -> None:
        """Check, before the work, that a folder may be replaced at the end.

        Raises:
            OutputError: the path is not a folder, or the folder holds something that this program did not write, was
                made by another command or with other settings, or cannot be written.
        """
        check_is_no_file(folder)
        place = resolved(folder)
        if not place.exists():
            return
        if os.path.ismount(place):
            raise OutputError(f"{folder}: is a mount point, which cannot be replaced. Choose a folder inside it.")
        held = sorted(place.iterdir())
        if not os.access(place, os.W_OK):
            # Its parent may be writable, but its contents could not be removed.
            raise OutputError(f"{folder}: is read-only and cannot be replaced. Choose a folder that you can write to.")
        if not held:
            return
        found = self.recognize(place)
        names = found.names if found else ()
        foreign = [path.name for path in held if path.name not in names or _is_folder(path)]
        if foreign:
            raise OutputError(
                f"{folder}: holds files that this command did not write, {_some(foreign, ', ')}, and will not be "
                "replaced. Choose another folder, or move them away."
            )
        assert found is not None
        if not self.overwrite and (difference := self._difference(found)):
            raise OutputError(
                f"{folder}: holds {found.what}, {difference}. Choose another folder, or give --overwrite to replace it."
            )

    def _difference(self, found: FinishedOutput) -> str:
        """Return why a finished output differs from what this run would make; empty if it does not."""
        if found.made_by != self.by:
            return f"made by `{found.made_by}`"
        if found.settings is None or self.settings is None:
            return "of an earlier run"
        settings = json.loads(json.dumps(self.settings))  # In the form in which they are read back.
        both = [name for name in found.settings if name in settings]
        before, now = ({name: stated[name] for name in both} for stated in (found.settings, settings))
        if before == now:
            return ""
        changes = self.changes(before, now)
        return f"made differently: {_some(changes, '; ') or 'its settings cannot be read'}"


def discard(folder: Path, found: FinishedOutput | None) -> None:
    """Delete a folder that was replaced, except for files that this program did not write."""
    names = found.names if found else ()
    for path in sorted(
        (path for path in folder.iterdir() if path.name in names), key=lambda path: names.index(path.name)
    ):
        if not _is_folder(path):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
    if folder.exists():
        log.warning("%s: keeps files that were put into the folder while it was being replaced", folder)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _some(texts: Sequence[str], between: str) -> str:
    """Return the first three texts, and the number of the others."""
    return between.join(texts[:3]) + (f" and {len(texts) - 3:,} more" if len(texts) > 3 else "")


def _short(value: object) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
