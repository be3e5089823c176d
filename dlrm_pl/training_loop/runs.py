"""Loop over the batches of an epoch that calls hooks only when something observes them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.training.engine.native_engine import NativeEngine
from dlrm_pl.model.training.trained_module import TrainedModule
from dlrm_pl.program import threads_switching_soon
from dlrm_pl.training_loop.counts import Counts
from dlrm_pl.training_loop.fetching import Batches
from dlrm_pl.training_loop.observed import train_observed
from dlrm_pl.training_loop.observers import batches_of_the_bar, batches_unseen
from dlrm_pl.training_loop.step_log import StepLog

_RUN_S = 0.2
"""Maximum time without a hook, so that progress bars, timers and ctrl-C get their turn."""

_CALLS_OF_A_RUN = 3
"""Number of calls of native code in that time, so that a run does not end much later."""

_MOST_BATCHES = 128
"""Maximum number of batches per call: with more, the overhead of a call would not become noticeably smaller."""


class RunsLoop(_TrainingEpochLoop):
    """Lightning's loop, except that it trains runs of batches without Lightning's work around each of them.

    Lightning takes milliseconds for each batch: hooks, wrappers, counters, metrics. In the native engine, a batch may
    take a tenth of that. So batches that nothing observes are trained one after the other, several in a call, and
    counted as Lightning counts them; the batch after them is trained with the hooks and logs that Lightning calls for
    it. If user code observes each batch, Lightning's own code trains them all.
    """

    _batches_of_a_call = 1
    _drawn_at = -_RUN_S

    def run(self, data_fetcher: _DataFetcher) -> None:
        """Train an epoch; no step waits long for a thread that draws the bar or reads the next batches."""
        with threads_switching_soon():
            super().run(data_fetcher)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train a run of batches that nothing observes, and then one that is observed."""
        module = self.trainer.lightning_module
        engine = module.native_engine() if isinstance(module, TrainedModule) and not self.restarting else None
        unseen = batches_unseen(self) if engine is not None else None
        if engine is None or unseen is None:
            super().advance(data_fetcher)
            return
        assert isinstance(module, TrainedModule)
        try:
            engine.look()
            if unseen.batches:
                self._train_unseen(data_fetcher, module, engine, unseen.batches)
            now = time.perf_counter()
            draws = not unseen.until_log or now - self._drawn_at >= _RUN_S
            train_observed(self, data_fetcher, module, engine, draws=draws)
            if draws and self.batch_progress.current.ready % batches_of_the_bar(self.trainer) == 0:
                self._drawn_at = now
        finally:
            engine.count()

    def _train_unseen(self, fetcher: _DataFetcher, module: TrainedModule, engine: NativeEngine, batches: int) -> None:
        """Train at most this number of batches, for at most ``_RUN_S``, and count them as Lightning does."""
        counts, source, step_log = Counts(self), Batches(fetcher), StepLog(self)
        unit = batches_of_the_bar(self.trainer)
        began = time.perf_counter()
        end = began + _RUN_S
        try:
            while batches:
                together = self._batches_of_a_call if counts.may_be_added else 1
                taken = source.take(min(batches, _upto_the_bar(together, counts.ready, unit)))
                _train_together(taken, counts, module, engine, step_log)
                batches -= len(taken)
                now = time.perf_counter()
                share = _RUN_S / _CALLS_OF_A_RUN / max((now - began) / len(taken), 1e-9)
                # There are fewer than requested where the reader has not read more batches together.
                self._batches_of_a_call = max(1, min(int(share), 2 * max(together, len(taken)), _MOST_BATCHES))
                began = now
                if now >= end:
                    step_log.write()
                    if (counts.ready + 1) % unit == 0:
                        break
        finally:
            step_log.write()
        module.model.watch.glance()


def _upto_the_bar(batches: int, ready: int, unit: int) -> int:
    """Return about this number of batches, so that the progress bar may be drawn after the next one."""
    beyond = (ready + batches + 1) % unit
    return batches - beyond if batches > beyond else batches + unit - beyond


def _train_together(
    batches: Sequence[ClickBatch], counts: Counts, module: TrainedModule, engine: NativeEngine, step_log: StepLog
) -> None:
    """Train on batches, and count and log those that were trained before an error of one.

    Raises:
        DLRMError: a batch cannot be trained on.
        NonFiniteError: the training has diverged.
    """
    while batches:
        rates = counts.rates(len(batches))
        counts.start()
        losses = engine.run(batches, counts.ready - 1, rates)
        diverged = module.has_diverged(losses[-1])
        first, batch, stepped = counts.steps + 1, counts.ready - 1, counts.stepped
        good = losses[:-1] if diverged else losses  # The diverged loss is reported below.
        counts.finish(len(good))
        if good:
            if module.loss_listener is not None:
                module.loss_listener(good, first, max(first, counts.steps))
            step_log.add(good, batch, stepped)
        if diverged:
            if len(losses) > 1:
                counts.start()
            module.check_loss(losses[-1], batches[len(losses) - 1])
        batches = batches[len(losses) :]
