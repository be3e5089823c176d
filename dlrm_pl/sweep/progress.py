"""How long trials train, and after how many batches they are scored."""

from __future__ import annotations

import math


def batches_of(rows: int, batch_size: int, accumulated: int) -> int:
    """Return the number of batches in a trial: as many as make up the rows, rounded to whole optimizer steps.

    Example:
        >>> batches_of(1000, 128, 1), batches_of(1000, 128, 3)
        (8, 6)
    """
    batches = max(1, math.ceil(rows / batch_size))
    return max(1, batches // accumulated) * accumulated


def scored_after(batches: int, validations: int) -> tuple[int, ...]:
    """Return the numbers of batches, in equal shares, after which a trial is scored.

    Trials with other batch sizes are scored after the same shares. With fewer batches than validations, some of these
    numbers are equal.

    Example:
        >>> scored_after(10, 4), scored_after(2, 4)
        ((3, 5, 8, 10), (1, 1, 2, 2))
    """
    return tuple(math.ceil(number * batches / validations) for number in range(1, validations + 1))


def rows_of_fit(
    epoch_batches: int,
    batch_size: int,
    accumulated: int,
    *,
    epoch_rows: int,
    max_epochs: int | None,
    max_steps: int,
    limit: float | int | None,
) -> int:
    """Return the number of rows that `fit` would train on with a configuration's limits.

    Args:
        epoch_batches: number of batches in an epoch without a limit.
        batch_size: number of rows in a batch.
        accumulated: number of batches in an optimizer step.
        epoch_rows: number of rows in an epoch without a limit.
        max_epochs: number of epochs; None or -1 for no limit, in which case a trial takes one epoch.
        max_steps: number of optimizer steps; -1 for no limit.
        limit: number of batches in an epoch (int) or a share of them (float); None for all.

    Example:
        >>> rows_of_fit(8, 128, 1, epoch_rows=1000, max_epochs=2, max_steps=-1, limit=1.0)
        2000
        >>> rows_of_fit(8, 128, 1, epoch_rows=1000, max_epochs=2, max_steps=4, limit=1.0)
        512
    """
    epoch = epoch_batches
    if isinstance(limit, int):
        epoch = min(epoch, limit)
    elif limit is not None:
        epoch = int(epoch * limit)
    epochs = max_epochs if max_epochs is not None and max_epochs >= 0 else 1
    batches = epoch * epochs
    if max_steps >= 0:
        batches = min(batches, max_steps * accumulated)
    return min(batches * batch_size, epochs * epoch_rows)
