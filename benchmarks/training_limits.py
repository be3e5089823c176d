"""Measure what one thread of this machine can do at most in training, and compute the speed that it allows."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dlrm_pl.kernels.int8.pages import empty_table
from dlrm_pl.model.architecture import Architecture

_SOURCE = Path(__file__).with_suffix(".cpp")
# Short, so that nothing else on the machine disturbs some of the repeats.
_PRODUCTS = 200_000
_LOOKUPS = 40_000
_MOST_ROWS = 1 << 21
_REPEATS = 40


@dataclass(frozen=True)
class Limits:
    """Limits of one thread.

    Attributes:
        fp32_flops: multiplications and additions a second of fp32 products that need no memory.
        bf16_flops: the same for bf16 products with fp32 sums; that of fp32 where the processor has no faster ones.
        rows_read: random rows a second that are read, from 2 MiB pages.
        rows_updated: random rows a second that are read, changed and written.
    """

    fp32_flops: float
    bf16_flops: float
    rows_read: float
    rows_updated: float

    def __str__(self) -> str:
        """The limits, on one line."""
        return (
            f"fp32 {self.fp32_flops / 1e9:,.0f} GFLOPS, bf16 {self.bf16_flops / 1e9:,.0f} GFLOPS, "
            f"rows {self.rows_read / 1e6:.1f} M/s read, {self.rows_updated / 1e6:.1f} M/s updated"
        )

    def statement(self) -> dict[str, float]:
        """Return the limits as plain numbers."""
        return {name: round(value) for name, value in asdict(self).items()}

    def samples_per_s(
        self,
        architecture: Architecture,
        threads: int,
        *,
        bf16: bool,
        lookups: int | None = None,
        changed: int | None = None,
    ) -> float:
        """Return the samples per second if a thread did nothing but products and rows, one after the other.

        Args:
            architecture: of the model.
            threads: assumed to scale perfectly.
            bf16: whether products are those of bf16.
            lookups: rows that a sample looks up; None: one a table.
            changed: rows that it changes, of tables and of the optimizer's state; None: as many as it looks up.
        """
        products = training_flops(architecture) / (self.bf16_flops if bf16 else self.fp32_flops)
        lookups = architecture.num_tables if lookups is None else lookups
        rows = lookups / self.rows_read + (lookups if changed is None else changed) / self.rows_updated
        return threads / (products + rows)


def training_flops(architecture: Architecture) -> int:
    """Count multiplications and additions of one sample, forward and backward, in Linears and in a dot interaction."""
    shapes = list(architecture.linear_shapes.values())
    first = shapes[0][0] * shapes[0][1]  # Its input has no gradient.
    linears = 6 * sum(a * b for a, b in shapes) - 2 * first
    vectors = architecture.num_tables + 1
    pairs = vectors * (vectors - 1) // 2 if architecture.interaction == "dot" else 0
    return linears + 6 * pairs * architecture.embedding_dim


def measure_limits(total_rows: int, dim: int, folder: Path) -> Limits | None:
    """Compile the measurement for this processor and run it.

    Args:
        total_rows: of all tables together.
        dim: values of a row.
        folder: where the compiled library goes.

    Returns:
        None where there is no compiler.

    Raises:
        RuntimeError: the compiler refused it; with what it printed.
    """
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None
    path = folder / "limits.so"
    command = [compiler, "-O3", "-march=native", "-w", "-shared", "-fPIC", "-o", str(path), str(_SOURCE)]
    compiled = subprocess.run(command, check=False, capture_output=True, text=True)
    if compiled.returncode:
        raise RuntimeError(f"{_SOURCE.name} cannot be compiled:\n{compiled.stderr}")
    library = ctypes.CDLL(str(path))
    for name in ("fp32_products", "bf16_products"):
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_int64]
    library.rows.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]

    def products(name: str) -> float:
        function = getattr(library, name)
        operations = function(1000)  # Also the first use of the registers.
        return _PRODUCTS / 1000 * operations / _fastest(lambda: function(_PRODUCTS)) if operations else 0.0

    count = min(total_rows, _MOST_ROWS)
    table = empty_table(count, 4 * dim)
    table.fill_(0)
    # Other rows each time, as those of the last one may still be in a cache.
    indices = torch.randint(0, count, (_REPEATS, _LOOKUPS), generator=torch.Generator().manual_seed(0))

    def rows(update: int) -> float:
        parts = iter(indices)
        return _LOOKUPS / _fastest(
            lambda: library.rows(table.data_ptr(), dim, next(parts).data_ptr(), _LOOKUPS, update)
        )

    fp32 = products("fp32_products")
    # Where products of bf16 are slower, or there are none, values are widened and multiplied as fp32.
    return Limits(fp32, max(fp32, products("bf16_products")), rows(0), rows(1))


def _fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several calls: a limit is the speed without any disturbance."""
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
