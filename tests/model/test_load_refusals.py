"""Files that are not our checkpoints, or do not fit, are refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError, DatasetError
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.load import load_checkpoint, load_dlrm, load_into, read_checkpoint
from tests.support.examples import examples
from tests.support.files.checkpoints import changed
from tests.support.training import (
    OPTIONS,
    FakeData,
    loader,
    make_batches,
    make_module,
    make_trainer,
)

# Lightning warns that these runs have no validation, which is intended.
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table_sizes": [6, 5, 12]}, "table 2: the checkpoint has 9 rows, the dataset 12"),
        ({"table_sizes": [6, 5, 9, 2]}, "the checkpoint has 3 tables, the dataset 4"),
        ({"top_mlp": [7, 1]}, r"top_mlp is \[8, 1\] in the checkpoint, but \[7, 1\] in the model"),
        ({"self_interaction": True}, "self_interaction is False in the checkpoint, but True in the model"),
        ({"loss_threshold": 0.2}, "loss_threshold is 0.1 in the checkpoint, but 0.2 in the model"),
        ({"dataset_fingerprint": "bb"}, "trained on the dataset aa, but this one is bb: .* other categories"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    module = make_module(**(OPTIONS | changes))
    with pytest.raises(CheckpointError, match=rf"model\.ckpt: .*{message}"):
        load_into(module, saved)
    with pytest.raises(CheckpointError, match=message):
        make_trainer(max_epochs=2).fit(module, loader(make_batches(1)), ckpt_path=saved, weights_only=True)


def test_lightnings_own_checkpoint_is_refused(saved: Path, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "other.ckpt", dlrm_pl=None)
    message = "Not a dlrm_pl checkpoint: .*callbacks.*Give a file that `fit` wrote"
    with pytest.raises(CheckpointError, match=rf"other\.ckpt: {message}"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=message):
        make_trainer().test(make_module(), loader(make_batches(1)), ckpt_path=path, weights_only=True)


ARCHITECTURE = make_module(**OPTIONS).architecture.to_dict()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"format": 2}, "has format 2, but this version of dlrm_pl reads 1"),
        ({"format": 1}, "the entry 'dlrm_pl': architecture is missing"),
        ({"format": 1, "architecture": []}, r"the entry 'dlrm_pl': architecture: \[\] must be an object"),
        ({"format": 1, "architecture": {}, "dataset_fingerprint": ""}, "the architecture: table_sizes is missing"),
        (
            {"format": 1, "architecture": ARCHITECTURE | {"top_mlp": "1"}, "dataset_fingerprint": ""},
            "is invalid",
        ),
        ({"format": 1, "architecture": ARCHITECTURE | {"top_mlp": [3]}, "dataset_fingerprint": ""}, "must end in 1"),
        ("mine", "Not a dlrm_pl checkpoint"),
    ],
)
def test_a_damaged_statement_is_refused(saved: Path, tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: .*{message}"):
        read_checkpoint(changed(saved, tmp_path / "x.ckpt", dlrm_pl=entry))


@pytest.mark.parametrize("load", [load_checkpoint, load_dlrm])
def test_weights_that_do_not_fit_their_statement_are_refused(saved: Path, tmp_path: Path, load: Any) -> None:
    state = dict(read_checkpoint(saved, mmap=False)["state_dict"])
    state.pop("model.top_mlp.0.bias")
    path = changed(saved, tmp_path / "x.ckpt", state_dict=state)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: is corrupt: the weights do not fit(.|\n)*top_mlp.0.bias"):
        load(path)


@pytest.mark.parametrize(
    ("saved_values", "message"), [({"depth": 3, "_instantiator": "y"}, "'depth'"), ({"optimizer": "adam"}, "'adam'")]
)
def test_foreign_hyperparameters_are_refused(
    saved: Path, tmp_path: Path, saved_values: dict[str, Any], message: str
) -> None:
    path = changed(saved, tmp_path / "x.ckpt", hyper_parameters=saved_values)
    with pytest.raises(
        CheckpointError, match=rf"x\.ckpt: no DLRMModule can be made from the hyperparameters .*{message}"
    ):
        load_checkpoint(path)


class Hostile:
    """Runs code when it is unpickled without torch's allow-list."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_a_hostile_pickle_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "x.ckpt", callbacks=Hostile(tmp_path / "proof"))
    with pytest.raises(CheckpointError, match=r"x\.ckpt: holds posix\.mkdir, which is not allowed .* that `fit` wrote"):
        read_checkpoint(path)
    assert not (tmp_path / "proof").exists()


def test_files_that_are_no_checkpoint_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.ckpt: does not exist"):
        read_checkpoint(tmp_path / "nothing.ckpt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match=r"list\.ckpt: holds a list, not a checkpoint"):
        read_checkpoint(tmp_path / "list.ckpt")
    torch.save({}, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match=r"empty\.ckpt: Not a dlrm_pl checkpoint: .* the file holds nothing"):
        read_checkpoint(tmp_path / "empty.ckpt")


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02]q\x00."])
def test_garbage_is_refused(tmp_path: Path, content: bytes, mmap: bool) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: "):
        read_checkpoint(path, mmap=mmap)


@settings(deadline=None, max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(saved: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"x\.ckpt: (is empty|cut short)"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore")  # Torch warns about what damaged bytes seem to request.
@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=8))
def test_a_damaged_file_raises_nothing_else(saved: Path, tmp_path: Path, places: list[tuple[float, int]]) -> None:
    content = bytearray(saved.read_bytes())
    for share, flip in places:
        content[int(share * len(content))] ^= flip
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):  # A flipped bit in a weight is not noticed.
        load_dlrm(path)
        load_checkpoint(path)


def test_check_dataset_names_the_difference() -> None:
    contract = CheckpointContract(make_module().architecture, "aa")
    contract.check_dataset([6, 5, 9], "aa")
    contract.check_dataset([6, 5, 9], "")
    with pytest.raises(DatasetError, match="table 1: the dataset has 4 rows, the model 5"):
        contract.check_dataset([6, 4, 9], "aa")
    dataclasses.replace(contract, dataset_fingerprint="").check_dataset([6, 5, 9], "bb")


def test_resuming_on_another_dataset_is_refused(saved: Path) -> None:
    """A module that does not know its dataset takes the data module's, which the checkpoint contradicts."""
    module = make_module(**(OPTIONS | {"dataset_fingerprint": ""}))
    with pytest.raises(CheckpointError, match="trained on the dataset aa, but this one is bb"):
        make_trainer(max_epochs=2).fit(module, datamodule=FakeData([6, 5, 9], "bb"), ckpt_path=saved, weights_only=True)
