"""Lightning's counters of batches, steps and schedules, for batches that its own loop does not see."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from dlrm_pl.model.training.optimizers.step_schedule import StepSchedule


class Counts:
    """Counts batches as Lightning's loop counts them.

    Args:
        loop: loop over an epoch's batches.
    """

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        self._loop = loop
        self._batches: tuple[Any, ...] = (loop.batch_progress.current, loop.batch_progress.total)
        self._optimizer = loop.automatic_optimization.optim_progress.optimizer
        self._accumulated = loop.trainer.accumulate_grad_batches
        configs = [config for config in loop.trainer.lr_scheduler_configs if config.interval == "step"]
        self._schedules = configs
        known = len(configs) == 1 and type(configs[0].scheduler) is StepSchedule and configs[0].frequency == 1
        self._schedule: StepSchedule | None = configs[0].scheduler if known else None

    @property
    def may_be_added(self) -> bool:
        """Whether the steps' learning rates are known in advance, so that several steps can be counted together."""
        return not self._schedules or self._schedule is not None

    @property
    def ready(self) -> int:
        """Number of batches of this epoch that were fetched."""
        return int(self._loop.batch_progress.current.ready)

    @property
    def steps(self) -> int:
        """Number of optimizer steps so far: ``global_step``, without Lightning's overhead."""
        return int(self._optimizer.step.total.completed)

    @property
    def stepped(self) -> int:
        """Number of optimizer steps as loggers count them."""
        return int(self._loop._batches_that_stepped)

    def rates(self, batches: int) -> list[list[float]] | None:
        """Return the learning rates of the next batches' steps, by group; None: the current ones for all steps."""
        if self._schedule is None:
            return None
        steps = (self.ready + batches) // self._accumulated - self.ready // self._accumulated
        return self._schedule.coming(max(1, steps))

    def move_schedule(self, steps: int) -> bool:
        """Advance a schedule whose rates are known by several steps; return whether there is one."""
        if self._schedule is None:
            return False
        self._schedule.skip(steps)
        self._loop.scheduler_progress.increment_by(steps)
        return True

    def start(self) -> None:
        """Count the first of several batches that are trained together, so that errors name it."""
        for count in self._batches:
            count.ready += 1
            count.started += 1

    def finish(self, batches: int) -> None:
        """Count trained batches, the started one and those after it, and advance the schedules."""
        if not batches:
            return
        loop, first = self._loop, self.ready - 1
        optimizer = self._optimizer
        for count in self._batches:
            count.ready += batches - 1
            count.started += batches - 1
            count.processed += batches
            count.completed += batches
        zeroed = -(-(first + batches) // self._accumulated) + -first // self._accumulated
        steps = (first + batches) // self._accumulated - first // self._accumulated
        for zero_grad in (optimizer.zero_grad.current, optimizer.zero_grad.total):
            zero_grad.increment_by(zeroed)
        for step in (optimizer.step.current, optimizer.step.total):
            step.increment_by(steps)
        loop._batches_that_stepped += steps
        if self.move_schedule(steps):
            return
        for config in self._schedules:
            if steps and self.ready % config.frequency == 0:
                loop.scheduler_progress.increment_ready()
                config.scheduler.step()
                loop.scheduler_progress.increment_completed()
