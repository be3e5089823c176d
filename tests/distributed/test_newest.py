"""After torchrun restarts a training, it resumes from the newest complete checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlrm_pl.distributed.checkpoints.newest import newest_checkpoint, was_restarted
from dlrm_pl.errors import ConfigurationError


def _saved(folder: Path, name: str, step: int, run: str = "") -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "complete.json").write_text(json.dumps({"global_step": step, "run": run}))
    return path


def test_newest_is_that_of_most_steps(tmp_path: Path) -> None:
    _saved(tmp_path / "one", "step=9.ckpt", 9)
    newest = _saved(tmp_path / "two", "step=100.ckpt", 100)
    (tmp_path / "two" / "step=200.ckpt").mkdir()  # Without a marker it is incomplete.
    (tmp_path / "two" / "last.ckpt").symlink_to(newest)
    _saved(tmp_path / "two", ".step=300.ckpt.removed.tmp", 300)
    assert newest_checkpoint([tmp_path / "one", tmp_path / "two", tmp_path / "nothing"]) == newest


def test_nothing_is_found_where_nothing_was_saved(tmp_path: Path) -> None:
    assert newest_checkpoint([tmp_path, tmp_path / "nothing"]) is None


def test_restarts_are_counted_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    assert not was_restarted([])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not was_restarted([])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert was_restarted([])


def test_on_several_machines_a_checkpoint_reveals_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")  # From a machine where nothing failed.
    _saved(tmp_path, "step=9.ckpt", 9, "another")
    assert not was_restarted([tmp_path])
    own = _saved(tmp_path, "step=5.ckpt", 5, "mine")
    assert was_restarted([tmp_path])
    assert newest_checkpoint([tmp_path], "mine") == own


def test_on_several_machines_a_run_needs_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # torchrun's own name for runs without one.
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert not was_restarted([tmp_path])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(ConfigurationError, match=r"Give torchrun a name for this training run with --rdzv_id"):
        was_restarted([tmp_path])
