"""Time the trials of a search in turn with the float models that could be served instead."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.benchmark.contenders import BASELINE, Contender, float_baselines
from dlrm_pl.benchmark.timer import Scorer, time_in_turn
from dlrm_pl.benchmark.unavailable import UnavailableError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.search.objective import Latency
from dlrm_pl.runtime.int8_dlrm import Int8DLRM

log = logging.getLogger(__name__)

_TRIAL = "trial"


class InterleavedTimer:
    """A ``LatencyTimer`` that times each trial in slices between slices of fp32 and of compiled bf16.

    The float models are built and compiled once, when the first trial is timed.

    Args:
        model: float model; it is referenced, and its tables are copied once for bf16.
        batches: batches, of which only the first is timed.
        batch_size: maximum number of samples in the timed batch.
        seconds: average time for each model in each trial.
    """

    def __init__(
        self, model: DLRM, batches: Iterable[ClickBatch], *, batch_size: int = 2048, seconds: float = 1.0
    ) -> None:
        self._model = model
        self._batches = batches
        self._batch_size = batch_size
        self._seconds = seconds
        self._batch: ClickBatch | None = None
        self._baselines: dict[str, Scorer] = {}

    def __call__(self, model: Int8DLRM) -> Latency:
        """Time a model, with the same samples each time."""
        with torch.inference_mode():
            if self._batch is None:
                whole = next(iter(self._batches))
                self._batch = first_samples(whole, min(whole.num_samples, self._batch_size))
                self._baselines = self._prepare(self._batch)
            timings = time_in_turn(
                {**self._baselines, _TRIAL: model}, [self._batch], baseline=BASELINE, seconds=self._seconds
            )
        bf16 = [timing.samples_per_s for name, timing in timings.items() if name not in (BASELINE, _TRIAL)]
        return Latency(
            samples_per_s=timings[_TRIAL].samples_per_s,
            fp32_samples_per_s=timings[BASELINE].samples_per_s,
            bf16_samples_per_s=bf16[0] if bf16 else None,
            batch_size=self._batch.num_samples,
            threads=torch.get_num_threads(),
        )

    def _prepare(self, batch: ClickBatch) -> dict[str, Scorer]:
        contenders = float_baselines(self._model)
        for label, reason in contenders.unavailable.items():
            log.warning("latency is not compared with %s: %s", label, reason)
        prepared: dict[str, Scorer] = {}
        for contender in contenders.available:
            scorer = _prepared(contender, batch)
            if scorer is not None:
                prepared[contender.name] = scorer
        return prepared


def _prepared(contender: Contender, batch: ClickBatch) -> Scorer | None:
    """Prepare a contender; None, with a warning, if it is unavailable."""
    try:
        return contender.prepare(batch)
    except UnavailableError as error:
        log.warning("latency is not compared with %s: %s", contender.label, error)
        return None
