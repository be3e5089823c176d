"""The columns that a model is made for: in the module, in its checkpoints, and compared with other data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import CheckpointError, ConfigurationError, DatasetError
from dlrm_pl.model.checkpoints.contract import KEY, overruled
from dlrm_pl.model.load import load_checkpoint, load_into
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.files.checkpoints import changed
from tests.support.training import make_trainer

COLUMNS = Columns(
    "click",
    (
        DenseColumn(name="age"),
        DenseColumn(name="price", type="float", transform="standardize", mean=2.0, deviation=3.0),
    ),
    (SparseColumn(name="site"), SparseColumn(name="tags", at_most=3, pooling="mean")),
)


def made(columns: Any = COLUMNS, **options: Any) -> DLRMModule:
    shape: dict[str, Any] = {"embedding_dim": 4, "bottom_mlp": [0, 4], "top_mlp": [1]}
    return DLRMModule([5, 7], **(shape | options), columns=columns)


def saved(module: DLRMModule, path: Path) -> Path:
    trainer = make_trainer()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=False)
    return path


def test_the_columns_give_inputs_and_pooling() -> None:
    architecture = made().architecture
    assert (architecture.bottom_mlp, architecture.pooling) == ((2, 4), ("sum", "mean"))
    assert made(COLUMNS.statement()).architecture == architecture
    assert DLRMModule([3] * 26, bottom_mlp=[0, 16]).architecture.bottom_mlp == (13, 16)


def test_columns_with_an_unknown_mean_are_refused() -> None:
    price = DenseColumn(name="price", transform="standardize")
    with pytest.raises(
        ConfigurationError, match=r"Column price: mean and .* not known\. Take the columns from a dataset"
    ):
        made(Columns("click", (price,), COLUMNS.sparse))


def test_columns_that_do_not_fit_the_model_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="the number of dense columns is 2, but bottom_mlp begins with 3"):
        made(bottom_mlp=[3, 4])
    one_table = dataclasses.replace(COLUMNS, sparse=COLUMNS.sparse[:1])
    with pytest.raises(ConfigurationError, match="the number of sparse columns is 1, but the number of tables is 2"):
        made(one_table)
    with pytest.raises(ConfigurationError, match=r"model\.columns: label is missing|model\.columns: dense is missing"):
        made({"sparse": []})


def hashed(rows: int) -> Columns:
    user = SparseColumn(name="user", kind="integer", ids="hash", rows=rows)
    return dataclasses.replace(COLUMNS, sparse=(user, COLUMNS.sparse[1]))


def test_a_column_has_as_many_ids_as_its_table_has_rows() -> None:
    assert made(hashed(5)).columns == hashed(5)
    for rows in (4, 6):
        with pytest.raises(ConfigurationError, match=f"column user has {rows} ids, but table 0 has 5 rows"):
            made(hashed(rows))


def test_fewer_ids_can_be_forced_and_more_cannot() -> None:
    module = made(hashed(5))
    with pytest.raises(DatasetError, match="Column user has rows=4 in the dataset, but 5 in the model"):
        module.check_dataset([4, 7], "", hashed(4))
    module.allow_other_dataset = True
    assert "Column user has rows=4" in module.check_dataset([4, 7], "", hashed(4))
    with pytest.raises(DatasetError, match=r"column user has 6 ids, but table 0 has 5 rows\. .* not even with --force"):
        module.check_dataset([6, 7], "", hashed(6))


def test_a_checkpoint_states_the_columns_and_gives_them_back(tmp_path: Path) -> None:
    module = made()
    path = saved(module, tmp_path / "model.ckpt")
    loaded = load_checkpoint(path)
    assert loaded.columns == COLUMNS
    assert loaded.architecture == module.architecture
    assert torch.load(path, weights_only=True)[KEY]["columns"] == COLUMNS.statement()
    assert load_into(made(), path) == ""
    again = DLRMModule.load_from_checkpoint(path, weights_only=True)
    assert again.columns == COLUMNS


def renamed(**changes: Any) -> Columns:
    return dataclasses.replace(COLUMNS, sparse=(dataclasses.replace(COLUMNS.sparse[0], **changes), COLUMNS.sparse[1]))


def test_a_checkpoint_of_other_columns_is_refused_by_the_first_difference(tmp_path: Path) -> None:
    path = saved(made(), tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="Sparse column 0 is site in the checkpoint, but app in the dataset"):
        load_into(made(renamed(name="app")), path)
    with pytest.raises(CheckpointError, match="Column site has kind=string in the checkpoint, but integer in the"):
        load_into(made(renamed(kind="integer")), path)
    dense = (DenseColumn(name="age"),)
    with pytest.raises(CheckpointError, match="There are 2 dense columns in the checkpoint, but 1 in the dataset"):
        load_into(made(dataclasses.replace(COLUMNS, dense=dense)), path)


def test_a_checkpoint_without_columns_is_criteos_where_it_has_their_shape(tmp_path: Path) -> None:
    path = saved(DLRMModule([3] * 26, embedding_dim=4, bottom_mlp=[13, 4]), tmp_path / "model.ckpt")
    contract = torch.load(path, weights_only=True)[KEY]
    del contract["columns"]
    assert load_checkpoint(changed(path, tmp_path / "older.ckpt", **{KEY: contract})).columns == Columns.criteo()
    path = saved(made(None, bottom_mlp=[2, 4]), tmp_path / "other.ckpt")
    assert "columns" not in torch.load(path, weights_only=True)[KEY]
    assert load_checkpoint(path).columns is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "states a pooling but no columns"),
        (Columns.criteo().statement(), "do not fit its architecture: the number of dense columns is 13"),
        ({"label": "click"}, "the columns in the checkpoint: dense is missing"),
    ],
)
def test_columns_that_contradict_their_checkpoint_are_corrupt(tmp_path: Path, entry: Any, message: str) -> None:
    path = saved(made(), tmp_path / "model.ckpt")
    contract = torch.load(path, weights_only=True)[KEY] | {"columns": entry}
    with pytest.raises(CheckpointError, match=rf"{message}.*corrupt"):
        load_checkpoint(changed(path, tmp_path / "other.ckpt", **{KEY: contract}))


def test_a_dataset_of_other_columns_is_refused() -> None:
    module = made()
    assert module.check_dataset([5, 7], "", COLUMNS) == ""
    with pytest.raises(DatasetError, match="Sparse column 0 is app in the dataset, but site in the model"):
        module.check_dataset([5, 7], "", renamed(name="app"))
    module.allow_other_dataset = True
    assert "Sparse column 0 is app" in module.check_dataset([5, 7], "", renamed(name="app"))
    with pytest.raises(DatasetError, match=r"the number of dense columns is 13, .* not even with --force"):
        module.check_dataset([5, 7], "", Columns.criteo())


def test_a_module_made_without_columns_takes_those_of_its_data() -> None:
    columns = dataclasses.replace(COLUMNS, sparse=(COLUMNS.sparse[0], SparseColumn(name="tag")))
    module = made(None, bottom_mlp=[2, 4])
    assert module.columns is None
    module.check_dataset([5, 7], "", columns)
    assert module.columns == columns
    with pytest.raises(DatasetError, match=r"pooling of column tags is mean, .* sum\. Make the model with columns="):
        made(None, bottom_mlp=[2, 4]).check_dataset([5, 7], "", COLUMNS)


def test_a_first_width_of_0_differs_from_no_number() -> None:
    assert overruled({"bottom_mlp": [2, 4]}, {"bottom_mlp": [0, 4]}) == ""
    assert overruled({"bottom_mlp": [0, 4]}, {"bottom_mlp": (2, 4)}) == ""
    assert "bottom_mlp" in overruled({"bottom_mlp": [2, 4]}, {"bottom_mlp": [0, 8]})
    assert "bottom_mlp" in overruled({"bottom_mlp": [2, 4]}, {"bottom_mlp": [3, 4]})
