"""A flipped bit in a checkpoint is found wherever its tensors are read."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import CheckpointError
from dlrm_pl.export.fbgemm_folder import export_tables
from dlrm_pl.export.fbgemm_layouts import RowFormat
from dlrm_pl.inspection import describe
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import load_checkpoint, load_dlrm, load_into, read_checkpoint
from dlrm_pl.model.upstream.exporting import export_upstream
from dlrm_pl.quantization.ptq.quantize import table_packer
from tests.support.training import (
    OPTIONS,
    loader,
    make_batches,
    make_module,
    make_trainer,
)

# Lightning warns that these runs have no validation, which is intended.
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


def flipped(saved: Path, path: Path, name: str) -> Path:
    """Return a copy with one bit flipped in the middle of a tensor."""
    content = bytearray(saved.read_bytes())
    tensor = open_checkpoint(saved)["state_dict"][name]
    content[tensor.offset + tensor.nbytes // 2] ^= 64
    path.write_bytes(content)
    return path


TABLE, LAYER = "model.embedding_bags.tables.2.weight", "model.top_mlp.0.weight"


@pytest.mark.parametrize("name", [TABLE, LAYER])
@pytest.mark.parametrize("load", [open_checkpoint, read_checkpoint, load_dlrm, load_checkpoint, describe])
def test_flipped_bit_of_a_small_tensor_is_found_wherever_it_is_loaded(
    saved: Path, tmp_path: Path, name: str, load: Callable[[Path], object]
) -> None:
    load(saved)
    damaged = flipped(saved, tmp_path / "x.ckpt", name)
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: corrupt: checksum mismatch .* which hold {name}"):
        load(damaged)


def quantize(path: Path) -> object:
    model = load_dlrm(path)
    assert model.weights_file is not None
    checksums = parameter_checksums(model, model.weights_file.tensors)
    return table_packer(model, checksums=checksums).packed(("int8",) * 3)


READING_ALL: list[Callable[[Path], object]] = [
    quantize,
    AtomicCheckpointIO().load_checkpoint,
    lambda path: describe(path, full=True),
    lambda path: export_upstream(path, path.with_name("x.pt")),
    lambda path: export_tables(path, path.with_name("tables"), RowFormat(8)),
    lambda path: read_checkpoint(path, mmap=False),
]


@pytest.mark.parametrize("read", READING_ALL)
def test_flipped_bit_of_a_large_table_is_found_where_it_is_read_whole(
    saved: Path, tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrm_pl.model.checkpoints.tensors.SMALL_BYTES", 0)
    damaged = flipped(saved, tmp_path / "x.ckpt", TABLE)
    with pytest.raises(CheckpointError, match="corrupt"):
        read(damaged)


def test_what_of_a_large_table_was_not_checked_is_said(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_into(make_module(**OPTIONS), saved) == ""
    assert " ".join(describe(saved).splitlines()[-1].split()) == "checked all by the checksums in the file"
    monkeypatch.setattr("dlrm_pl.model.checkpoints.tensors.SMALL_BYTES", 0)
    # Three tables, and as many tensors of Adagrad state, with the steps and states of the layers.
    left = re.fullmatch(r"([\d,]+) bytes of large tensors", load_into(make_module(**OPTIONS), saved))
    assert left is not None
    assert int(left[1].replace(",", "")) > 2 * 4 * 4 * (6 + 5 + 9)
    assert f"but {left[0]}; `--full" in describe(saved).splitlines()[-1]
    assert " ".join(describe(saved, full=True).splitlines()[-1].split()) == "checked all by the checksums in the file"
    with pytest.raises(CheckpointError, match=f"which hold {LAYER}"):
        load_into(make_module(**OPTIONS), flipped(saved, tmp_path / "x.ckpt", LAYER))


@pytest.mark.parametrize("use", ["validate", "test", "predict"])
def test_checkpoint_that_is_rewritten_while_it_is_scored_is_named(saved: Path, tmp_path: Path, use: str) -> None:
    path = Path(shutil.copy(saved, tmp_path / "model.ckpt"))
    module = make_module(**OPTIONS)
    load_into(module, path)
    module.model.watch.check()
    os.utime(path, (1, 1))
    with pytest.raises(CheckpointError, match=r"model\.ckpt: was changed in place while it was in use"):
        getattr(make_trainer(), use)(module, loader(make_batches(3)))


def test_weights_that_were_changed_in_memory_are_not_called_damaged(saved: Path) -> None:
    model = load_dlrm(saved)
    assert model.weights_file is not None
    before = model_checksum(model, parameter_checksums(model, model.weights_file.tensors))
    with torch.no_grad():
        next(model.embedding_bags.parameters())[0, 0] += 1
    assert model_checksum(model, parameter_checksums(model, model.weights_file.tensors)) != before
