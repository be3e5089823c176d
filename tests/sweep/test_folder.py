"""Which process may write the folder of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlrm_pl.errors import OutputError
from dlrm_pl.sweep import folder as sweep_folders
from dlrm_pl.sweep.folder import sweep_folder


def test_a_sweep_that_another_replaced_before_its_lock_was_held_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sweep_folder(tmp_path / "sweep", {"seed": 1}, False):
        pass
    lock = sweep_folders.folder_lock

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        monkeypatch.setattr(sweep_folders, "folder_lock", lock)
        with sweep_folder(folder, {"seed": 2}, True):
            pass
        with lock(folder):
            yield

    monkeypatch.setattr(sweep_folders, "folder_lock", late)
    with pytest.raises(OutputError, match="seed"), sweep_folder(tmp_path / "sweep", {"seed": 1}, False):
        pytest.fail("it went on in the folder of another sweep")
