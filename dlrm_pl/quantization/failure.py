"""Errors that fail a single recipe of a search, or a certification, but not the whole run."""

from __future__ import annotations

from dlrm_pl.errors import CalibrationError, DLRMError, MetricError, NonFiniteError

SLIPS = (CalibrationError, MetricError, NonFiniteError, ArithmeticError)
"""Undefined metrics, values that are not finite, and unforeseen arithmetic errors, such as a division by zero."""

FAILURES = (DLRMError, *SLIPS)
"""The same, and all other errors raised by this package or by a user's score."""


def describe_failure(error: BaseException) -> str:
    """Describe an error in words; arithmetic errors with their place, since their message alone says little."""
    if isinstance(error, DLRMError):
        return str(error)
    trace = error.__traceback__
    assert trace is not None  # The error was raised, so it has a traceback.
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    return f"{type(error).__name__}: {error} ({file}:{trace.tb_lineno}), a bug in dlrm_pl: please report it"
