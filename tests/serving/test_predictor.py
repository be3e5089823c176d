"""The files that probabilities are written to."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.serving import predictor
from dlrm_pl.serving.predictor import Predictor, write_predictions

VALUES = np.random.default_rng(0).random(5000, dtype=np.float32)


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_every_bit_comes_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    assert write_predictions(path, np.array_split(VALUES, 7)) == len(VALUES)
    found = np.load(path) if ending == "npy" else np.loadtxt(path, skiprows=1, dtype=np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_full_disk_is_told_as_such(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    @contextmanager
    def on_a_full_disk(path: Path, mode: str = "w", *, sinks: bool = False) -> Iterator[IO[Any]]:
        with Path("/dev/full").open(mode) as handle:
            yield handle

    monkeypatch.setattr(predictor, "atomic_file", on_a_full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        write_predictions(Path(f"p.{ending}"), [VALUES])
    assert caught.value.errno == errno.ENOSPC


def test_a_path_is_no_artifact() -> None:
    with pytest.raises(ConfigurationError, match=r"artifact='art' must be an Artifact\. Load it with load_artifact\."):
        Predictor("art")  # type: ignore[arg-type]
