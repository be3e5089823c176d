"""Measure how fast values are numbered and hashed, and the memory of a vocabulary.

    python benchmarks/vocabulary_tables.py --values 4000000 --repeats 5

Integers, and texts of eight bytes, with 1,000 distinct values and with a million, in chunks of 65,536. Times are
processor time of one thread, and the median of the repeats. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from machine import machine

from dlrm_pl.data.lookup.hashing import hash_values
from dlrm_pl.data.lookup.strings import Strings
from dlrm_pl.data.lookup.tables import integer_table, string_table

CHUNK = 65_536
DISTINCT = (1_000, 1_000_000)


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor time of a call."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def chunks(values: np.ndarray, *, texts: bool) -> list[Any]:
    """Return values in chunks: as they are, or as hexadecimal texts."""
    parts = np.array_split(values, -(-len(values) // CHUNK))
    return [Strings.of([b"%08x" % value for value in part.tolist()]) for part in parts] if texts else parts


def measure(make: Callable[[], Any], parts: Sequence[Any], repeats: int) -> dict[str, float]:
    """Return million values a second, and bytes of a distinct value."""
    times: dict[str, list[float]] = {"learn": [], "look up": [], "hash": []}
    count = sum(part.num_strings if isinstance(part, Strings) else len(part) for part in parts)
    for _ in range(repeats):
        table = make()
        times["learn"].append(seconds(lambda table=table: [table.number(part, learn=True) for part in parts]))
        times["look up"].append(seconds(lambda table=table: [table.number(part, learn=False) for part in parts]))
        times["hash"].append(seconds(lambda: [hash_values(part) for part in parts]))
    found = {name: round(count / statistics.median(each) / 1e6, 1) for name, each in times.items()}
    return found | {"bytes a value": round(table.nbytes / len(table), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {"machine": machine()}
    for distinct in DISTINCT:
        values = rng.integers(0, distinct, options.values) * 2_654_435_761 % 2**32
        for name, make in (("integers", integer_table), ("texts", string_table)):
            found = measure(make, chunks(values, texts=name == "texts"), options.repeats)
            result[f"{name}, {distinct:,} distinct"] = found
            print(f"{name:9} {distinct:>9,} distinct  " + "  ".join(f"{key} {value}" for key, value in found.items()))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
