"""Numbers of bytes in readable units, and the check of a disk's free space."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlrm_pl.errors import OutputError
from dlrm_pl.files.free_space import require_free_space
from dlrm_pl.files.sizes import format_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1536, "1.5 KiB"),
        (16 << 20, "16 MiB"),
        (3.26 * 2**30, "3.3 GiB"),
        (5000 << 40, "5,000 TiB"),
    ],
)
def test_bytes_are_given_in_the_unit_that_they_fill(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_output_that_does_not_fit_is_refused_with_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage if path == tmp_path else None)
    output = tmp_path / "not" / "there"
    require_free_space(output, 3 << 20, "packed tables")
    with pytest.raises(OutputError) as caught:
        require_free_space(output, 4 << 20, "packed tables", "Buy a disk.")
    assert str(caught.value) == f"{output}: packed tables need 4 MiB, but the disk has 3 MiB free. Buy a disk."
