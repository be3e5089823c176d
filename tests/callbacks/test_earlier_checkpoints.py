"""A new run does not replace checkpoints of an earlier one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from dlrm_pl.callbacks.earlier_checkpoints import check_earlier_checkpoints
from dlrm_pl.errors import OutputError


def check(folder: Path, default: Path | None = None, **options: Any) -> None:
    options = {"dirpath": folder, "enable_version_counter": False} | options
    check_earlier_checkpoints([ModelCheckpoint(**options)], default)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("model.ckpt", {"filename": "model"}),
        ("last.ckpt", {"filename": "model", "save_last": True}),
        ("epoch=3-step=17.ckpt", {}),
        ("a-val_auroc=0.71.ckpt", {"filename": "a-{val_auroc:.2f}"}),
        ("x[1].ckpt", {"filename": "x[1]"}),
    ],
)
def test_name_that_would_be_given_again_is_refused(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    check(tmp_path, **options)
    (tmp_path / name).touch()
    with pytest.raises(OutputError, match=r"would be overwritten.*--overwrite.*--ckpt_path") as caught:
        check(tmp_path, **options)
    assert str(tmp_path / name) in str(caught.value)
    check(tmp_path, **options | {"enable_version_counter": True})  # Lightning chooses another name.


def test_other_names_and_other_folders_stay_as_they_are(tmp_path: Path) -> None:
    for name in ("last.ckpt", "model-v1.ckpt", "model.txt", "x1.ckpt"):
        (tmp_path / name).touch()
    check(tmp_path, filename="model")
    check(tmp_path, filename="x[1]")
    check(tmp_path / "none", filename="last")


def test_callback_without_a_folder_writes_to_the_trainers(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").touch()
    check(tmp_path, None, dirpath=None, filename="model")  # A logger's folder is a new one.
    with pytest.raises(OutputError, match="earlier run"):
        check(tmp_path, tmp_path, dirpath=None, filename="model")


def test_a_second_training_beside_an_earlier_one_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def newest(**options: Any) -> str | None:
        caplog.clear()
        check(tmp_path, **{"filename": "model", "enable_version_counter": True} | options)
        return caplog.messages[0].rpartition("give --ckpt_path ")[2] if caplog.messages else None

    assert newest() is None
    for second, name in enumerate(("model.ckpt", "model-v1.ckpt", "last.ckpt", "last-v1.ckpt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (second, second))
    assert newest() == str(tmp_path / "model-v1.ckpt")
    assert newest(save_last=True) == str(tmp_path / "last-v1.ckpt")
    assert newest(filename="other") is None
    assert newest(dirpath=None) is None  # A logger's folder is a new one.
