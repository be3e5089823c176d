"""Metrics that one process computes alone while others wait."""

from __future__ import annotations

from typing import TypeVar

from dlrm_pl.metrics.metric import Metric

AnyMetric = TypeVar("AnyMetric", bound=Metric)


def without_sync(metric: AnyMetric) -> AnyMetric:
    """Keep a metric from synchronizing with other processes; returns the same metric.

    Quantization runs only on rank zero, with all rows, while the other ranks wait: a metric that asked them for their
    states would wait forever.
    """
    metric.distributed_available_fn = _never
    return metric


def _never() -> bool:
    return False
