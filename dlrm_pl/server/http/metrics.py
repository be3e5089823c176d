"""Counts and times of the server's work, in Prometheus text format."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class Histogram:
    """Observations, each counted at the smallest bound that it does not exceed.

    Args:
        bounds: upper bounds, in ascending order.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count an observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> Iterable[str]:
        """Return the lines of the text format."""
        total = 0
        comma = "," if labels else ""
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound}"}} {total}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {self.sum:.9g}"
        yield f"{name}_count{braces} {total}"


class Metrics:
    """Measurements. All of them are written in the event loop's thread, except those of batches."""

    def __init__(self) -> None:
        self.started = time.time()
        self.requests: Counter[tuple[str, int]] = Counter()
        """Number of responses by model (empty if the path names none) and status."""
        self.refused_connections: Counter[str] = Counter()
        """By reason."""
        self.seconds: dict[str, Histogram] = {}
        """Time from the arrival of an inference request's first byte in the application to its response, by model."""
        self.rows: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        self.batches: dict[str, Histogram] = {}
        self.swaps: Counter[tuple[str, str]] = Counter()
        """Number of newer versions, by model and outcome."""

    def answered(self, model: str, status: int, seconds: float) -> None:
        """Count an answered inference request."""
        self.requests[model, status] += 1
        if model not in self.seconds:
            self.seconds[model] = Histogram(_SECONDS)
        self.seconds[model].observe(seconds)

    def batch(self, model: str, rows: int) -> None:
        """Count a scored batch."""
        if model not in self.batches:
            self.batches[model] = Histogram(_ROWS)
        self.batches[model].observe(rows)

    def text(self, gauges: Iterable[tuple[str, str, str, float]] = ()) -> bytes:
        """Return all metrics in the text format.

        Args:
            gauges: further values: name, help, labels and value; values with the same name must be adjacent.
        """
        lines: list[str] = []
        counters = (
            ("requests_total", "Requests that were answered.", self.requests, ("model", "status")),
            ("rows_total", "Rows that were scored.", self.rows, ("model",)),
            ("unseen_values_total", "Values that are not in the vocabulary.", self.unseen, ("model",)),
            ("swaps_total", "Newer versions that were loaded or refused.", self.swaps, ("model", "outcome")),
            ("refused_connections_total", "Connections that were cut off.", self.refused_connections, ("reason",)),
        )
        for name, text, counter, keys in counters:
            lines += _head(name, text, "counter")
            for values, count in sorted(counter.items(), key=str):
                found = values if isinstance(values, tuple) else (values,)
                labels = ",".join(f'{key}="{value}"' for key, value in zip(keys, found, strict=True))
                lines.append(f"dlrm_pl_{name}{{{labels}}} {count}")
        histograms = (
            ("inference_seconds", "Time to answer an inference request.", self.seconds),
            ("batch_rows", "Rows per scored batch.", self.batches),
        )
        for name, text, by_model in histograms:
            lines += _head(name, text, "histogram")
            for model, histogram in by_model.items():
                lines += histogram.lines(f"dlrm_pl_{name}", f'model="{model}"')
        last = ""
        for name, text, labels, value in (
            *gauges,
            ("start_time_seconds", "Start of the process, in Unix time.", "", self.started),
        ):
            if name != last:
                lines += _head(name, text, "gauge")
                last = name
            lines.append(f"dlrm_pl_{name}{f'{{{labels}}}' if labels else ''} {value:.15g}")
        return ("\n".join(lines) + "\n").encode()


def _head(name: str, text: str, kind: str) -> tuple[str, str]:
    return f"# HELP dlrm_pl_{name} {text}", f"# TYPE dlrm_pl_{name} {kind}"
