"""What fails one recipe of a search, or one certification, but not the whole run."""

from __future__ import annotations

from dlrm_pl.errors import CalibrationError, DLRMError, MetricError, NonFiniteError

SLIPS = (CalibrationError, MetricError, NonFiniteError, ArithmeticError)
"""Numbers that there are none of, and slips of arithmetic, as a division by zero that nobody thought of."""

FAILURES = (DLRMError, *SLIPS)
"""The same, and all other errors of ours and of the user's score."""


def describe_failure(error: BaseException) -> str:
    """Why, in words; of a slip of arithmetic where as well, since its message alone tells nothing."""
    if isinstance(error, DLRMError):
        return str(error)
    trace = error.__traceback__
    assert trace is not None  # It was raised.
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    return f"{type(error).__name__}: {error} ({file}:{trace.tb_lineno}), a defect of dlrm_pl: please report it"
