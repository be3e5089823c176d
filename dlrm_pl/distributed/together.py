"""Steps that all processes take together: if one fails, all stop, and the message names it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
import torch.distributed as dist

from dlrm_pl.errors import DLRMError, OutputError

T = TypeVar("T")


def together(step: Callable[[], T]) -> list[T]:
    """Take a step on all processes.

    Returns:
        What each process returned, by its number.

    Raises:
        DLRMError: the step failed on a process; the error names it, and all processes raise it.
    """
    result: tuple[T | None, BaseException | None]
    try:
        result = step(), None
    except Exception as error:
        result = None, _named(error)
    results: list[tuple[T, BaseException | None]] = [result]  # type: ignore[list-item]
    if dist.is_initialized() and dist.get_world_size() > 1:
        results = [*results] * dist.get_world_size()
        dist.all_gather_object(results, result)
    raise_failures({rank: error for rank, (_, error) in enumerate(results) if error is not None})
    return [value for value, _ in results]


def on_first(step: Callable[[], T]) -> T:
    """Run a step only on the first process, and return its result on all processes.

    Raises:
        DLRMError: the step failed; see ``together``.
    """
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    return together(lambda: step() if is_first else None)[0]  # type: ignore[return-value]


def exchanged(value: int, error: DLRMError | None, device: torch.device) -> list[int]:
    """Send all processes a number, or the news that this one cannot continue, in one small message.

    Args:
        value: number to send, 0 or more.
        error: error that this process found; None if nothing is wrong.
        device: device that tensors are sent from.

    Returns:
        The numbers from all processes, in the order of the processes.

    Raises:
        DLRMError: a process cannot continue; all processes raise its error, see ``raise_failures``.
    """
    ranks = dist.get_world_size()
    if ranks == 1:
        if error is not None:
            raise error
        return [value]
    values = torch.empty(ranks, dtype=torch.int64, device=device)
    dist.all_gather([*values.view(-1, 1)], torch.tensor([value if error is None else -1], device=device))
    found = values.tolist()
    if min(found) < 0:
        errors: list[DLRMError | None] = [None] * ranks
        dist.all_gather_object(errors, error)
        raise_failures({rank: one for rank, one in enumerate(errors) if one is not None})
    return found


def raise_failures(failures: Mapping[int, BaseException]) -> None:
    """Raise, on all processes, the error of the first process that failed, if any; the message names it.

    Args:
        failures: errors by the number of their process.
    """
    if not failures:
        return
    for error in failures.values():
        if isinstance(error, KeyboardInterrupt):
            raise error
    rank, error = min(failures.items(), key=lambda pair: pair[0])
    others = f" (also on rank {', '.join(str(other) for other in sorted(failures) if other != rank)})"
    where = f"rank {rank}{others if len(failures) > 1 else ''}"
    if isinstance(error, OSError) and not isinstance(error, DLRMError):
        name = f"{error.filename}: " if error.filename else ""
        error = OutputError(f"{name}{error.strerror or error}.")
    if isinstance(error, DLRMError):
        common = type(error)(f"{where}: {error}")
        common.on_all_processes = True
        raise common from None
    raise RuntimeError(f"{where}: {type(error).__name__}: {error}") from error


def _named(error: Exception) -> Exception:
    """Add the machine's name to an error of the system, which may concern this machine alone."""
    if isinstance(error, OSError) and not isinstance(error, DLRMError):
        return OSError(error.errno, f"{error.strerror} on {socket.gethostname()}", error.filename)
    return error
