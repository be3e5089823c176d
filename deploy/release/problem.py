"""The one exception of these tools."""

from __future__ import annotations


class ReleaseError(Exception):
    """A release cannot be made so; the message says what to do."""
