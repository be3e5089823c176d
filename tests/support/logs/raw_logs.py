"""Raw logs for tests: lines of every legal form, and day files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from dlrm_pl.data.formats.binary_format import open_records, split_file_name
from dlrm_pl.data.preprocessing import log_run
from dlrm_pl.data.preprocessing.engine import numpy_engine
from dlrm_pl.data.preprocessing.options import PreprocessOptions

GOOD = b"1\t" + b"\t".join([b"5"] * 13) + b"\t" + b"\t".join([b"0a1b2c3d"] * 26)

# Make many chunks, checkpoints and buckets from little data.
MANY = PreprocessOptions(memory_bytes=16 << 20, checkpoint_bytes=150_000, workers=16)

_dense = st.one_of(st.just(b""), st.integers(-3, 2**31 - 1).map(lambda value: str(value).encode()))
_sparse = st.one_of(
    st.just(b""), st.sampled_from([b"0", b"ffffffff", b"00000001", b"0A"]), st.integers(0, 9).map(b"%08x".__mod__)
)
_row = st.tuples(
    st.sampled_from([b"0", b"1"]),
    st.lists(_dense, min_size=13, max_size=13),
    st.lists(_sparse, min_size=26, max_size=26),
)
line = _row.map(lambda parts: b"\t".join([parts[0], *parts[1], *parts[2]]))


def write_days(folder: Path, days: list[list[bytes]], newline: bytes = b"\n", compress: bool = False) -> Path:
    """Write day files, every other one with a final newline; returns their prefix."""
    folder.mkdir(exist_ok=True)
    for number, lines in enumerate(days):
        text = newline.join(lines) + (newline if number % 2 else b"")
        name = f"day_{number}" + (".gz" if compress else "")
        (folder / name).write_bytes(gzip.compress(text) if compress else text)
    return folder / "day"


def random_lines(rows: int, seed: int, values: int = 200) -> list[bytes]:
    """Return lines with some fields missing; column C26 differs in every line of the same seed."""
    rng = np.random.default_rng(seed)
    labels, dense = rng.random(rows) < 0.3, rng.integers(-2, 5000, (rows, 13))
    sparse = rng.integers(0, values, (rows, 26)) * 7919
    sparse[:, 25] = seed * 1_000_000 + np.arange(rows)
    missing = rng.random((rows, 39)) < 0.1
    missing[:, 38] = False
    return [
        b"\t".join(
            [
                b"%d" % labels[row],
                *(b"" if missing[row, i] else b"%d" % dense[row, i] for i in range(13)),
                *(b"" if missing[row, 13 + i] else b"%08x" % sparse[row, i] for i in range(26)),
            ]
        )
        for row in range(rows)
    ]


def read(folder: Path) -> dict[str, list[list[int]]]:
    """Return the records of each split."""
    return {name: open_records(folder / split_file_name(name)).tolist() for name in ("train", "test", "val")}  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a dataset without times: the arrays of zip archives, the bytes of others."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".npz":
            with np.load(path) as archive:
                found[path.name] = b"".join(archive[name].tobytes() for name in archive.files)
        else:
            found[path.name] = path.read_bytes()
    return found


def use_engine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``preprocess`` parse with the ``numpy`` engine, or with the ``native`` one if it is built."""
    monkeypatch.setattr(log_run, "engine", numpy_engine.NumPyEngine if name == "numpy" else numpy_engine.engine)
