"""Reasons why a contender cannot be timed."""

from __future__ import annotations

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.memory import available_bytes


class UnavailableError(Exception):
    """A contender cannot be timed here; the message says why.

    Args:
        reason: the message.
        contender: name of the contender, for callers that could not tell which one it was.
    """

    def __init__(self, reason: str, contender: str = "") -> None:
        super().__init__(reason)
        self.contender = contender


def missing_memory(what: str, needed: int) -> str:
    """Return why something does not fit into the available memory; empty if it fits.

    Args:
        what: what needs the memory, as the beginning of a sentence.
        needed: number of bytes.
    """
    missing = missing_bytes(needed)
    return f"{what} needs {format_bytes(missing)} more memory than is available" if missing else ""


def missing_bytes(needed: int) -> int:
    """Return by how many bytes a request exceeds the available memory; 0 if it fits or if that is unknown."""
    try:
        return max(0, needed - available_bytes())
    except OSError:
        return 0
