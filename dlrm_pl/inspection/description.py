"""What is found out of a dataset folder, a checkpoint or an artifact, as text and as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Line = tuple[str, str] | str
"""A label and its text; or a line of a table."""


@dataclass(frozen=True)
class Description:
    """A dataset folder, a checkpoint or an artifact.

    Attributes:
        kind: which of the three it is.
        path: the folder or file.
        data: its facts by name: numbers, texts, dataclasses, and lists and mappings of them.
        lines: the same facts as lines for people to read.
        checked: description of what was compared with its checksum.
    """

    kind: Literal["dataset", "checkpoint", "artifact"]
    path: Path
    data: Mapping[str, Any]
    lines: tuple[Line, ...]
    checked: str

    def __str__(self) -> str:
        lines = [(self.kind, str(self.path)), *self.lines]
        width = max(len(line[0]) for line in lines if not isinstance(line, str)) + 2
        return "\n".join(line if isinstance(line, str) else f"{line[0]:<{width}}{line[1]}" for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Return kind, path, what was checked, and the facts."""
        return {"kind": self.kind, "path": str(self.path), "checked": self.checked, **self.data}
