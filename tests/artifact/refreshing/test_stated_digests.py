"""A refresh from a checkpoint that contains digests of its rows reads only the rows that changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.refreshing.packer import refreshing_packer
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import CheckpointError
from dlrm_pl.kernels.hashing.fallback import blake3
from dlrm_pl.model.checkpoints import tensors
from dlrm_pl.model.checkpoints.checksum import parameter_checksums
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.checkpoints.row_digests import DIGESTS_KEY
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.load import load_dlrm, load_into
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.torch_file.stored import StoredTensor
from tests.support.refreshing import (
    ARCHITECTURE,
    Made,
    assert_same_bits,
    changed,
    nothing,
    quantized,
    refresh,
    runs,
    scattered,
)


def saved(model: DLRM, path: Path, *, asynchronous: bool = False) -> Path:
    """Write a checkpoint with digests, as a training would."""
    contents: dict[str, Any] = {
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        "hyper_parameters": ARCHITECTURE.to_dict(),
    }
    CheckpointContract(ARCHITECTURE, "").write(contents)
    plugin = AtomicCheckpointIO(asynchronous)
    plugin.save_checkpoint(contents, path)
    plugin.finish()
    assert DIGESTS_KEY not in contents
    return path


def loaded(path: Path) -> DLRM:
    """Load a checkpoint as `quantize --ckpt_path` does."""
    with skip_weight_init():
        module = DLRMModule(**ARCHITECTURE.to_dict())  # type: ignore[arg-type]
    load_into(module, path)
    return module.model.eval()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_checkpoint_states_the_digests_of_its_tables(made: Made, tmp_path: Path, asynchronous: bool) -> None:
    opened = open_checkpoint(saved(made.model, tmp_path / "a.ckpt", asynchronous=asynchronous), whole=True)
    assert list(opened[DIGESTS_KEY]) == [f"embedding_bags.tables.{table}.weight" for table in range(3)]
    for name, digests in opened[DIGESTS_KEY].items():
        rows = opened["state_dict"][f"model.{name}"].read().numpy()
        expected = blake3(rows.reshape(-1).view(np.uint8), 8192)[:, :16]
        np.testing.assert_array_equal(digests.read().numpy(), expected)


@pytest.mark.parametrize("change", [scattered, runs, nothing])
def test_the_artifact_is_that_of_a_refresh_that_reads_all_rows(made: Made, change: Any, tmp_path: Path) -> None:
    model = changed(made.model, change)
    refresh(model, made.path, tmp_path / "all")
    refresh(loaded(saved(model, tmp_path / "a.ckpt")), made.path, tmp_path / "stated")
    found, expected = load_artifact(tmp_path / "stated"), load_artifact(tmp_path / "all")
    assert_same_bits(found.model, quantized(model, made.artifact()))
    for name, checksum in expected.manifest.files.items():  # The other files contain times.
        if name.startswith(("table-", "digests")):
            assert found.manifest.files[name] == checksum
    assert found.manifest.files.keys() == expected.manifest.files.keys()
    assert found.manifest.model_checksum == expected.manifest.model_checksum


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the checksum comparison at opening for every table, as for large ones."""
    monkeypatch.setattr(tensors, "SMALL_BYTES", 0)


def test_rows_of_other_blocks_are_not_read(made: Made, tmp_path: Path, unchecked: None) -> None:
    """One of these rows is damaged here, which is not noticed, because its packed row comes from the base."""
    path = saved(changed(made.model, runs), tmp_path / "a.ckpt")
    damage(path, 0, 700)
    packed = packer_of(loaded(path), made, tmp_path).packed(["int8"] * 3)
    expected = quantized(changed(made.model, runs), made.artifact()).tables.all()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(packed, expected, strict=True))


def test_a_damaged_row_that_changed_is_refused(made: Made, tmp_path: Path, unchecked: None) -> None:
    path = saved(changed(made.model, runs), tmp_path / "a.ckpt")
    damage(path, 0, 260)
    with pytest.raises(
        CheckpointError, match=r"tables.0.weight: block 1 of its rows, .* does not match the digest that the"
    ):
        packer_of(loaded(path), made, tmp_path).packed(["int8"] * 3)


def test_weights_that_may_have_changed_in_memory_are_all_read(made: Made, tmp_path: Path) -> None:
    path = saved(changed(made.model, runs), tmp_path / "a.ckpt")
    model = load_dlrm(path)
    assert model.weights_file is not None
    assert not model.weights_file.digests
    with torch.no_grad():
        bags_of(model).weights()[0].data[2000] += 1
    refresh(model, made.path, tmp_path / "b")
    assert_same_bits(load_artifact(tmp_path / "b").model, quantized(model, made.artifact()))


@pytest.mark.parametrize("stated", [None, [1], {"embedding_bags.tables.0.weight": torch.zeros(3, 16).byte()}])
def test_other_entries_of_that_name_are_passed_over(made: Made, tmp_path: Path, stated: Any) -> None:
    model = changed(made.model, runs)
    contents = torch.load(saved(model, tmp_path / "a.ckpt")) | {DIGESTS_KEY: stated}
    torch.save(contents, tmp_path / "b.ckpt")
    found = loaded(tmp_path / "b.ckpt")
    assert found.weights_file is not None
    assert not found.weights_file.digests
    refresh(found, made.path, tmp_path / "b")
    assert_same_bits(load_artifact(tmp_path / "b").model, quantized(model, made.artifact()))


def packer_of(model: DLRM, made: Made, tmp_path: Path) -> Any:
    file = model.weights_file
    assert file is not None
    assert len(file.digests) == 3
    folder = tmp_path / "packed"
    folder.mkdir()
    checksums = parameter_checksums(model, file.tensors, file.digests)
    return refreshing_packer(RefreshBase.load(made.path, model), model, folder, lambda _: None, checksums)


def damage(path: Path, table: int, row: int) -> None:
    """Change a byte of a row in the file."""
    tensor = open_checkpoint(path)["state_dict"][f"model.embedding_bags.tables.{table}.weight"]
    assert isinstance(tensor, StoredTensor)
    with path.open("r+b") as handle:
        handle.seek(tensor.storages[0].offset + row * 4 * ARCHITECTURE.embedding_dim)
        handle.write(b"\x55")
