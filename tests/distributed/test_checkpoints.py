"""Checkpoints of sharded tables: saved by two processes, read by one or two with any sharding."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import dlrm_pl
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import read_checkpoint
from tests.support.processes.sharded import SHARDED_TRAINING, needs_engine, run_sharded
from tests.support.processes.sharded_folders import same_contents

pytestmark = [pytest.mark.long, needs_engine, pytest.mark.filterwarnings("ignore::UserWarning")]

SHARDINGS = ("table_wise", "row_wise", "column_wise")
SAME = [
    *(("rwsadagrad", sharding, sharding) for sharding in SHARDINGS),
    *(("adagrad", sharding, sharding) for sharding in ("row_wise", "column_wise")),
    ("adagrad", "table_row_wise", "table_row_wise"),
    ("dcn", "row_wise", "row_wise"),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "rwsadagrad": {"optimizer": "rwsadagrad"},
    "adagrad": {"optimizer": "adagrad"},
    "dcn": {"optimizer": "adagrad", "interaction": "dcn", "cross_layers": 2, "cross_rank": 5},
}
# With column-wise sharding, each process sums its own parts of rows, so rwsadagrad's steps differ from whole rows'.
OTHER = [
    ("rwsadagrad", "table_wise", "row_wise"),
    ("rwsadagrad", "row_wise", "table_wise"),
    ("adagrad", "column_wise", "row_wise"),
    ("adagrad", "row_wise", "column_wise"),
]

_SCRIPT = """
import pytorch_lightning as pl

def weights(module):
    return [tuple(part) for part in module.model.embedding_bags.parts()]

def keep(trainer, module, name):
    dense = {name: value.detach() for name, value in module.named_parameters()}
    torch.save({"parts": weights(module), "dense": dense}, folder / f"{name}-{trainer.global_rank}.pt")

# A training that is saved at step 3, and goes on to step 6 in the same process.
for optimizer, sharding, _ in SAME:
    name = f"{optimizer}-{sharding}"
    saved = ModelCheckpoint(folder / name, filename="{step}", every_n_train_steps=3, save_top_k=-1, save_last=True)
    trainer, module = train(32, {"sharding": sharding}, DATA, 6, callbacks=[saved], **OPTIONS[optimizer])
    keep(trainer, module, name)

# The same, written while it goes on.
class Pending(pl.Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == 4 and trainer.is_global_zero:
            (folder / "pending.txt").write_text(str(trainer.strategy.saving.pending))

saved = ModelCheckpoint(
    folder / "meanwhile", filename="{step}", every_n_train_steps=2, monitor="step", mode="max", save_top_k=2,
    save_last=True,
)
train(32, {"sharding": "row_wise"}, DATA, 6, callbacks=[saved, Pending()], optimizer="adagrad", asynchronous=True)
saved = ModelCheckpoint(folder / "linked", filename="{step}", every_n_train_steps=3, save_last="link")
train(32, {"sharding": "row_wise"}, DATA, 6, callbacks=[saved], optimizer="adagrad", asynchronous=True)

# It goes on from step 3 in new processes: with the same sharding, and with the others.
for optimizer, before, sharding in SAME + OTHER:
    path = folder / f"{optimizer}-{before}" / "step=3.ckpt"
    trainer, module = train(32, {"sharding": sharding}, DATA, 6, ckpt_path=path, **OPTIONS[optimizer])
    keep(trainer, module, f"{optimizer}-{before}-{sharding}")

# An ordinary file goes on too.
from dlrm_pl.model.checkpoints.sharded.merging import Merge
file = folder / f"merged-{trainer.global_rank}.ckpt"
Merge(folder / "adagrad-column_wise" / "step=3.ckpt").write(file)
trainer, module = train(32, {"sharding": "row_wise"}, DATA, 6, ckpt_path=file, optimizer="adagrad")
keep(trainer, module, "adagrad-file")
"""


@pytest.fixture(scope="module")
def trained(few_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    names = f"SAME, OTHER, OPTIONS, DATA = {SAME!r}, {OTHER!r}, {OPTIONS!r}, {str(few_tables)!r}\n"
    run_sharded(SHARDED_TRAINING + names + _SCRIPT, folder)
    return folder


def _weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Assemble the weights from the parts of both processes."""
    tables: dict[int, list[Any]] = {}
    result: dict[str, torch.Tensor] = {}
    for rank in range(2):
        found = torch.load(folder / f"{name}-{rank}.pt")
        result |= found["dense"]
        for part in found["parts"]:
            tables.setdefault(part[0], []).append(part)
    for number, parts in tables.items():
        rows = max(row + len(values) for _, row, _, values in parts)
        columns = max(column + values.shape[1] for _, _, column, values in parts)
        table = result[f"model.embedding_bags.tables.{number}.weight"] = torch.full((rows, columns), torch.nan)
        for _, row, column, values in parts:
            table[row : row + values.shape[0], column : column + values.shape[1]] = values
    return result


def _largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(("optimizer", "before", "sharding"), SAME)
def test_training_goes_on_bit_equal_on_as_many_processes(
    trained: Path, optimizer: str, before: str, sharding: str
) -> None:
    undisturbed = _weights(trained, f"{optimizer}-{before}")
    assert _largest_difference(undisturbed, _weights(trained, f"{optimizer}-{before}-{sharding}")) == 0


@pytest.mark.parametrize(("optimizer", "before", "sharding"), OTHER)
def test_another_sharding_goes_on_with_the_same_steps(
    trained: Path, optimizer: str, before: str, sharding: str
) -> None:
    # FBGEMM sums the gradients of a row in the order of its part's rows.
    undisturbed = _weights(trained, f"{optimizer}-{before}")
    assert _largest_difference(undisturbed, _weights(trained, f"{optimizer}-{before}-{sharding}")) <= 1e-5


def test_merged_file_goes_on_with_several_processes(trained: Path) -> None:
    undisturbed = _weights(trained, "adagrad-column_wise")
    assert _largest_difference(undisturbed, _weights(trained, "adagrad-file")) <= 1e-5


@pytest.mark.parametrize(
    ("optimizer", "sharding"), [("rwsadagrad", "row_wise"), ("adagrad", "column_wise"), ("dcn", "row_wise")]
)
def test_one_process_without_the_engine_goes_on_from_a_folder(
    trained: Path, few_tables: Path, optimizer: str, sharding: str
) -> None:
    """Each step has the batches of both processes together."""
    data = dlrm_pl.DLRMDataModule(few_tables, batch_size=64, shuffle="none")
    trainer = dlrm_pl.DLRMTrainer(
        accelerator="cpu", max_steps=6, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    path = trained / f"{optimizer}-{sharding}" / "step=3.ckpt"
    module = dlrm_pl.load_checkpoint(path)
    trainer.fit(module, datamodule=data, ckpt_path=path)
    weights = {name: value.detach() for name, value in module.named_parameters()}
    assert trainer.global_step == 6
    assert _largest_difference(_weights(trained, f"{optimizer}-{sharding}"), weights) <= 1e-5


@pytest.mark.parametrize(("optimizer", "sharding"), [(optimizer, sharding) for optimizer, sharding, _ in SAME])
def test_a_folder_reads_as_the_checkpoint_of_one_process(trained: Path, optimizer: str, sharding: str) -> None:
    folder = trained / f"{optimizer}-{sharding}" / "step=6.ckpt"
    checkpoint = read_checkpoint(folder, whole=True)
    weights = _weights(trained, f"{optimizer}-{sharding}")
    assert checkpoint["state_dict"].keys() == weights.keys()
    for name, value in checkpoint["state_dict"].items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)
    own: Any = dlrm_pl.load_checkpoint(folder).configure_optimizers()
    own["optimizer"].load_state_dict(checkpoint["optimizer_states"][0])
    own["lr_scheduler"]["scheduler"].load_state_dict(checkpoint["lr_schedulers"][0])
    assert all(len(rates) == len(own["optimizer"].param_groups) for rates in own["lr_scheduler"]["scheduler"].coming(3))
    for parameter, state in own["optimizer"].state.items():
        assert state["sum"].shape in (parameter.shape, parameter.shape[:1])
        assert float(state["sum"].max()) > 0


def test_the_last_checkpoint_shares_the_files_of_the_one_before(trained: Path) -> None:
    folder = trained / "rwsadagrad-table_wise"
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "step=3.ckpt", "step=6.ckpt"]
    names = ["complete.json", "dense.pt", "part-0.pt", "part-1.pt"]
    assert sorted(os.listdir(folder / "last.ckpt")) == names
    for name in names:
        assert (folder / "last.ckpt" / name).samefile(folder / "step=6.ckpt" / name)


def test_checkpoints_that_are_written_while_training_goes_on_are_those_of_their_moment(trained: Path) -> None:
    folder = trained / "meanwhile"
    assert (trained / "pending.txt").read_text() == str(folder / "step=4.ckpt")
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "step=4.ckpt", "step=6.ckpt"]
    for name, other in (("step=6.ckpt", "step=6.ckpt"), ("last.ckpt", "last.ckpt")):
        found, expected = (
            read_checkpoint(path, whole=True) for path in (folder / name, trained / "adagrad-row_wise" / other)
        )
        for entry in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
            assert same_contents(found[entry], expected[entry]), entry
    assert (folder / "last.ckpt" / "part-1.pt").samefile(folder / "step=6.ckpt" / "part-1.pt")
    assert (trained / "linked" / "last.ckpt").readlink() == Path("step=6.ckpt")
    assert sorted(path.name for path in (trained / "linked").iterdir()) == ["last.ckpt", "step=6.ckpt"]


def test_rows_of_a_table_by_columns_have_the_mean_of_their_sums(trained: Path) -> None:
    opened = open_checkpoint(trained / "rwsadagrad-column_wise" / "step=3.ckpt")
    saved = opened["optimizer_states"][0]
    sums = saved["state"][saved["param_groups"][1]["params"][0]]["sum"]
    left, right = torch.empty(sums.shape), torch.empty(sums.shape)
    sums.fill(left, 0, 0, 4)
    sums.fill(right, 0, 4, 4)
    assert not torch.equal(left, right)
    torch.testing.assert_close(sums.read(), (left + right) / 2)


def test_marker_lists_all_files(trained: Path) -> None:
    folder = trained / "adagrad-row_wise" / "step=3.ckpt"
    marker = json.loads((folder / "complete.json").read_text())
    assert marker["files"] == {path.name: path.stat().st_size for path in folder.glob("*.pt")}
