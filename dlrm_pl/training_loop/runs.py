"""The loop over the batches of an epoch, which calls hooks only where something observes them."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from dlrm_pl.model.training.engine.native_engine import NativeEngine
from dlrm_pl.model.training.trained_module import TrainedModule
from dlrm_pl.training_loop.observers import batches_of_the_bar, batches_unseen

_RUN_S = 0.1
"""Time without a hook, after which progress bars, timers and ctrl-C get their turn."""


class RunsLoop(_TrainingEpochLoop):
    """Lightning's loop, except that it trains runs of batches without Lightning's work around each of them.

    Lightning takes milliseconds for each batch: hooks, wrappers, counters, metrics. In the native engine a batch may
    take a tenth of that. So batches that nothing observes are trained one after the other, and counted as Lightning
    counts them; the batch after them is trained by Lightning, with all hooks.
    """

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train a run of batches that nothing observes, and then one that something does."""
        module = self.trainer.lightning_module
        engine = module.native_engine() if isinstance(module, TrainedModule) and not self.restarting else None
        if engine is not None and (batches := batches_unseen(self)):
            try:
                engine.look()
                self._train_unseen(data_fetcher, module, engine, batches)
            finally:
                engine.count()
        super().advance(data_fetcher)

    def _train_unseen(self, fetcher: _DataFetcher, module: TrainedModule, engine: NativeEngine, batches: int) -> None:
        """Train at most this number of batches, for at most ``_RUN_S``, and count them as Lightning does."""
        progress = self.batch_progress
        optimizer = self.automatic_optimization.optim_progress.optimizer
        counts: tuple[Any, ...] = (progress.current, progress.total)
        zeroed = (optimizer.zero_grad.current, optimizer.zero_grad.total)
        stepped = (optimizer.step.current, optimizer.step.total)
        accumulated = self.trainer.accumulate_grad_batches
        schedulers = [config for config in self.trainer.lr_scheduler_configs if config.interval == "step"]
        unit = batches_of_the_bar(self.trainer)
        end = time.perf_counter() + _RUN_S
        for _ in range(batches):
            batch, _, _ = next(fetcher)
            for count in counts:
                count.ready += 1
                count.started += 1
            batch_idx = progress.current.ready - 1
            steps = progress.current.ready % accumulated == 0
            module.check_loss(engine.step_unseen(batch, batch_idx), batch)
            if batch_idx % accumulated == 0:
                for count in zeroed:
                    count.increment_by(1)
            if steps:
                for count in stepped:
                    count.increment_by(1)
            for count in counts:
                count.processed += 1
                count.completed += 1
            if steps:
                for config in schedulers:
                    if progress.current.ready % config.frequency == 0:
                        self.scheduler_progress.increment_ready()
                        config.scheduler.step()
                        self.scheduler_progress.increment_completed()
                self._batches_that_stepped += 1
            if time.perf_counter() >= end and (progress.current.ready + 1) % unit == 0:
                break
        module.model.watch.glance()
