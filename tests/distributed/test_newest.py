"""After a restart by torchrun, a training goes on from the newest whole checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlrm_pl.distributed.checkpoints.newest import newest_checkpoint, was_restarted


def _saved(folder: Path, name: str, step: int) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "complete.json").write_text(json.dumps({"global_step": step}))
    return path


def test_newest_is_that_of_most_steps(tmp_path: Path) -> None:
    _saved(tmp_path / "one", "step=9.ckpt", 9)
    newest = _saved(tmp_path / "two", "step=100.ckpt", 100)
    (tmp_path / "two" / "step=200.ckpt").mkdir()  # Without a marker it is not whole.
    (tmp_path / "two" / "last.ckpt").symlink_to(newest)
    _saved(tmp_path / "two", ".step=300.ckpt.removed.tmp", 300)
    assert newest_checkpoint([tmp_path / "one", tmp_path / "two", tmp_path / "nothing"]) == newest


def test_nothing_is_found_where_nothing_was_saved(tmp_path: Path) -> None:
    assert newest_checkpoint([tmp_path, tmp_path / "nothing"]) is None


def test_restarts_are_counted_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    assert not was_restarted()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not was_restarted()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert was_restarted()
