"""Checkpoints that are saved between the batches of one optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rewind_to_last_step(checkpoint: Mapping[str, Any], accumulated: int) -> None:
    """Make a checkpoint resume at the batch after its last optimizer step, if it was saved later.

    The gradients of the batches since then are not saved. A resumed training computes them again, from the same
    weights, so it takes the same steps as an uninterrupted one.

    Args:
        checkpoint: contents that Lightning collected; their progress and the states of the loaders are changed.
        accumulated: number of batches in an optimizer step.
    """
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    batches = loop.get("epoch_loop.batch_progress")
    if accumulated < 2 or not batches or batches["is_last_batch"]:
        return  # The last batch of an epoch always ends a step.
    trained = batches["current"]["processed"]
    surplus = trained % accumulated
    if not surplus:
        return
    for count, before in ((batches["current"], 0), (batches["total"], batches["total"]["processed"] - trained)):
        for name in ("ready", "started", "processed", "completed"):
            count[name] = before + trained - surplus
    for state in loop.get("state_dict", {}).get("combined_loader", ()):
        if isinstance(state, dict) and isinstance(state.get("batches"), int):
            state["batches"] = trained - surplus
