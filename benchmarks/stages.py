"""Measure the time of each stage of a model, by its own timers if it has any, else by its submodules."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from dlrm_pl.batch import ClickBatch

_PARTS = {"bottom_mlp": "bottom MLP", "embedding_bags": "lookups", "top_mlp": "top MLP"}
_REST = "interaction and the rest"


def stage_times(model: nn.Module, batches: Sequence[ClickBatch], seconds: float) -> dict[str, float]:
    """Return the median milliseconds of each stage.

    A model may offer ``time_stages(batch)``, seconds by stage of one forward pass; it knows best where one of its
    operators ends. Otherwise the submodules are timed, and what they leave is the interaction.

    Args:
        model: to be timed.
        batches: used in turn, again and again.
        seconds: how long to go on; five batches at least.
    """
    measure: Callable[[ClickBatch], Mapping[str, float]] = getattr(model, "time_stages", None) or (
        lambda batch: _by_submodule(model, batch)
    )
    measure(batches[0])
    seen: dict[str, list[float]] = {}
    began, number = time.perf_counter(), 0
    while number < 5 or time.perf_counter() - began < seconds:
        for stage, value in measure(batches[number % len(batches)]).items():
            seen.setdefault(stage, []).append(value)
        number += 1
    return {stage: 1e3 * statistics.median(values) for stage, values in seen.items()}


def _by_submodule(model: nn.Module, batch: ClickBatch) -> dict[str, float]:
    """Return the seconds of each submodule in one forward pass; one that is never called is missing."""
    spent: dict[str, float] = {}
    began: dict[str, float] = {}
    handles = []

    def watch(part: str, module: nn.Module) -> None:
        def before(*_: Any) -> None:
            began[part] = time.perf_counter()

        def after(*_: Any) -> None:
            spent[part] = time.perf_counter() - began[part]

        handles.extend([module.register_forward_pre_hook(before), module.register_forward_hook(after)])

    for part, label in _PARTS.items():
        if hasattr(model, part):
            watch(label, getattr(model, part))
    try:
        start = time.perf_counter()
        model(batch)
        whole = time.perf_counter() - start
    finally:
        for handle in handles:
            handle.remove()
    return spent | {_REST: whole - sum(spent.values())}
