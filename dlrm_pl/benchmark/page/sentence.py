"""Result of a benchmark in one sentence: the artifact at its fastest, compared with the others."""

from __future__ import annotations

from dlrm_pl.benchmark.comparison import Cell, Comparison

INT8 = "int8"


def chosen_cell(comparison: Comparison) -> Cell:
    """Return the batch size and number of threads with which the artifact scores most samples per second."""
    return max(comparison.cells, key=lambda cell: cell.timings[INT8].samples_per_s)


def speed_sentence(comparison: Comparison) -> str:
    """Return the result in one sentence, with the batch size and number of threads that it holds for."""
    cell = chosen_cell(comparison)
    own = cell.timings[INT8]
    where = f"With batches of {cell.batch_size:,} on {threads_text(cell.threads)}"
    speed = f"{where}, the int8 artifact scores {own.samples_per_s:,.0f} samples per second"
    if comparison.is_alone:
        return f"{speed}; it was timed alone."
    low, high = own.ratio_interval
    parts = []
    if comparison.baseline != INT8:
        label = comparison.labels[comparison.baseline]
        parts.append(f"{_times(own.ratio)} as many as {label} (95% interval {low:.2f} to {high:.2f})")
    others = {name: timing for name, timing in cell.timings.items() if name not in (INT8, comparison.baseline)}
    if others:
        fastest = max(others, key=lambda name: others[name].samples_per_s)
        share = own.samples_per_s / others[fastest].samples_per_s
        parts.append(f"{_times(share)} as many as the fastest other contender, {comparison.labels[fastest]}")
    return f"{speed}, {' and '.join(parts)}."


def threads_text(count: int) -> str:
    """Format a number of threads.

    Example:
        >>> threads_text(1), threads_text(2)
        ('1 thread', '2 threads')
    """
    return f"{count:,} thread{'s'[: count != 1]}"


def cell_text(cell: Cell) -> str:
    """Format a combination of batch size and number of threads."""
    return f"batch {cell.batch_size:,}, {threads_text(cell.threads)}"


def by_threads(comparison: Comparison) -> dict[int, list[Cell]]:
    """Group the cells by number of threads, each ordered by batch size."""
    return {
        count: sorted((cell for cell in comparison.cells if cell.threads == count), key=lambda cell: cell.batch_size)
        for count in sorted({cell.threads for cell in comparison.cells})
    }


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times"
