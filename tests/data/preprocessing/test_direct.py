"""Parts of a file that several threads write, bypassing the cache where the file system allows it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.preprocessing.io import direct
from dlrm_pl.data.preprocessing.io.direct import ALIGNMENT, AlignedBuffer, DirectFile
from tests.support.examples import examples


@settings(deadline=None, max_examples=examples(30))
@given(
    sizes=st.lists(st.integers(0, 5 * ALIGNMENT), min_size=1, max_size=6),
    start=st.integers(0, 2 * ALIGNMENT),
    aligned=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_parts_in_any_order_make_the_file(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], start: int, aligned: bool, order: Any
) -> None:
    path = tmp_path_factory.mktemp("direct") / "file"
    expected = np.random.default_rng(3).integers(0, 256, start + sum(sizes), dtype=np.uint8)
    path.write_bytes(expected[:start].tobytes())
    file = DirectFile(path, start, len(expected))
    places = list(zip(np.cumsum([start, *sizes]).tolist(), sizes, strict=False))
    order.shuffle(places)
    for offset, size in places:
        buffer = AlignedBuffer(size)
        data = buffer.at(offset if aligned else offset + 1, size)
        data[:] = expected[offset : offset + size]
        file.write(offset, data)
    file.close()
    assert path.read_bytes() == expected.tobytes()


def test_file_system_without_such_writes_gets_usual_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, *rest)

    monkeypatch.setattr(direct.os, "open", refuse)
    (tmp_path / "file").touch()
    data = np.arange(20_000, dtype=np.uint8)
    file = DirectFile(tmp_path / "file", 0, len(data))
    file.write(0, data)
    file.close()
    assert (tmp_path / "file").read_bytes() == data.tobytes()


def test_disk_without_room_is_told_before_the_first_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"No space left on device|File too large"):
        DirectFile(tmp_path / "file", 0, 1 << 60)
    assert (tmp_path / "file").stat().st_size == 0
