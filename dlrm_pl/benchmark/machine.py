"""What the machine and the int8 kernels on it are, and can do at best: the roof that a model is held against."""

from __future__ import annotations

from dataclasses import dataclass

from dlrm_pl.kernels.int8.selection import isa


@dataclass(frozen=True)
class Ceilings:
    """Limits of one thread.

    Attributes:
        int8_ops_per_s: products and sums of int8 that need no memory.
        rows_per_s: random table rows that are read and not used.
    """

    int8_ops_per_s: float
    rows_per_s: float


def kernel_isa() -> str:
    """Instruction set that the int8 kernels use; ``twin`` where plain torch does the work."""
    return isa()


def ceilings(total_rows: int, row_bytes: int) -> Ceilings | None:
    """The limits for tables of so many rows altogether; None where nothing measures them, which is everywhere yet."""
    return None
