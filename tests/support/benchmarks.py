"""Made-up results of benchmarks."""

from __future__ import annotations

from dlrm_pl.benchmark.comparison import Cell, Comparison
from dlrm_pl.benchmark.run import Report
from dlrm_pl.benchmark.timer import Timing

LABELS = {
    "fp32": "fp32 eager",
    "fp32_compiled": "fp32 compiled",
    "bf16": "bf16 eager",
    "bf16_compiled": "bf16 compiled",
    "eager_int8": "int8 MLPs, eager",
    "int8": "int8",
}
SPEEDS = {"fp32": 1.0, "fp32_compiled": 1.4, "bf16": 2.1, "bf16_compiled": 4.5, "eager_int8": 2.9, "int8": 13.5}


def timing(batch_size: int, samples_per_s: float, ratio: float, *, spread: float = 0.04) -> Timing:
    """Return a timing whose intervals extend by a share to both sides."""
    median = 1e3 * batch_size / samples_per_s
    return Timing(
        samples_per_s=samples_per_s,
        p50_ms=median,
        p90_ms=1.1 * median,
        p99_ms=1.5 * median,
        interval_ms=((1 - spread) * median, (1 + spread) * median),
        ratio=ratio,
        ratio_interval=((1 - spread) * ratio, (1 + spread) * ratio),
        calls=1234,
        rounds=20,
    )


def comparison(
    labels: dict[str, str] | None = None,
    batch_sizes: tuple[int, ...] = (1, 32, 2048, 16384),
    threads: tuple[int, ...] = (1, 2),
    **unavailable: str,
) -> Comparison:
    """Return a comparison in which each contender's speed relative to the first is given by ``SPEEDS``."""
    labels = LABELS if labels is None else labels
    cells = []
    for count in threads:
        for size in batch_sizes:
            base = 20_000 * count**0.9 * size / (size + 30)
            speeds = {name: SPEEDS.get(name, 6.0) for name in labels}
            timings = {name: timing(size, base * speed, speed) for name, speed in speeds.items()}
            cells.append(Cell(count, size, timings))
    baseline = next(iter(labels))
    sqnr = {name: 25.0 + 3 * number for number, name in enumerate(labels) if name != baseline}
    rivals = tuple(name for name in labels if name != "int8" and not name.startswith("exported_"))
    return Comparison(labels, unavailable, baseline, sqnr, tuple(cells), rivals)


def report(compared: Comparison, **changes: object) -> Report:
    """Return a report of a comparison."""
    values = {
        "artifact": "artifacts/int8",
        "rows": "test rows of datasets/shop",
        "isa": "avx512_vnni",
        "machine": {
            "processor": "a processor",
            "features": ["avx2", "avx512_vnni"],
            "isa": "avx512_vnni",
            "threads": 2,
        },
        "int8_ops": {"int8_linear": 8, "int8_lookup": 26},
        "row_bytes": {"int8": 3536, "fp32": 13312, "bf16": 6656},
        "weight_bytes": {"int8": 2_400_000, "fp32": 9_500_000, "bf16": 4_750_000},
        "comparison": compared,
    }
    return Report(**(values | changes))  # type: ignore[arg-type]
