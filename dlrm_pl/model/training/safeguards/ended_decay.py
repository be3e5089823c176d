"""Warn of steps that hardly change the model because they come after the learning rate's decay."""

from __future__ import annotations

import logging
import math

from dlrm_pl.model.training.optimizers.schedule import WarmupDecay

log = logging.getLogger(__name__)

_SHARE = 0.01
"""Share of a run's steps. A decay that is stated in rows, or for whole batches, may end a few steps early."""


def warn_of_ended_decay(schedule: WarmupDecay, first: int, steps: float) -> None:
    """Warn if the decay of the learning rate ends long before the run does.

    Args:
        schedule: schedule of the learning rate.
        first: number of steps already done.
        steps: step at which the run ends; infinite if that is not known.
    """
    end = schedule.end
    if end is None or (math.isfinite(steps) and steps - max(end, first) <= _SHARE * (steps - first)):
        return
    until = "" if math.isinf(steps) else f" to step {steps:,.0f}"
    log.warning(
        "the decay of the learning rate ends at step %s, but training runs from step %s%s. After the decay the "
        "learning rate is %.2g, and the model hardly changes. To train on, change lr_decay_start_step or "
        "lr_num_decay_steps%s",
        f"{end:,}",
        f"{first:,}",
        until,
        schedule.rate(end),
        ", with --override" if first else "",
    )
