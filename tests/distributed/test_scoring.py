"""Several processes with sharded tables read, train on and score each row once, as one process does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dlrm_pl
from dlrm_pl.model.load import load_checkpoint
from tests.support.processes.sharded import needs_engine, run_sharded

pytestmark = [pytest.mark.long, needs_engine, pytest.mark.filterwarnings("ignore")]

# Three processes train on 96 rows a step, and on 28 in the last, where one has 10 and the others 9.
_RANKS = 3
_SHUFFLES = ("batch", "row")  # Tests of the weights read rows in their stored order.

_TRAIN = """
import json
from contextlib import nullcontext
from dlrm_pl.errors import DLRMError
from dlrm_pl.model.training.weight_init import weights_on_shards

def module_of(data):
    return dlrm_pl.DLRMModule(data.table_sizes, 8, [0, 16, 8], [16, 1], columns=data.columns, engine="torch")

def data_of(path, batch_size, shuffle="none", **options):
    return dlrm_pl.DLRMDataModule(path, batch_size=batch_size, eval_batch_size=111, shuffle=shuffle, seed=5, **options)

def trainer_of(devices, strategy="auto", **options):
    return dlrm_pl.DLRMTrainer(
        accelerator="cpu", devices=devices, strategy=strategy, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, **options,
    )
"""

_SCRIPT = """
from dlrm_pl.distributed.strategy import ShardedStrategy

rank, found = int(os.environ["RANK"]), {"metrics": {}, "errors": {}}

def new(path, shuffle="none", **options):
    torch.manual_seed(3)
    data = data_of(path, 32, shuffle)
    with weights_on_shards():
        module = module_of(data)
    return trainer_of(3, ShardedStrategy("auto"), **options), module, data

for shuffle in ("batch", "row"):
    trainer, module, data = new(path, shuffle)
    trainer.fit(module, datamodule=data)
    scores = dict(trainer.callback_metrics)
    trainer.save_checkpoint(folder / f"{shuffle}.ckpt", weights_only=True)
    scores |= trainer.test(module, datamodule=data, verbose=False)[0]
    found["metrics"][shuffle] = {name: float(value) for name, value in scores.items() if "_" in name}
trainer.predict(module, datamodule=data, output=folder / "test.npy")
trainer.predict(module, datamodule=data_of(path, 32, predict_raw=raw), output=folder / "raw.npy")

def damaged(kind):
    good = dlrm_pl.ClickBatch(torch.ones(8, data.num_dense), torch.zeros(len(data.table_sizes), 8, dtype=torch.int64),
                              None, torch.tensor([0.0, 1.0] * 4))
    batches = [good, good]
    if kind == "index" and rank == 1:
        indices = good.indices.clone()
        indices[4, 3] = 1000
        batches[1] = dlrm_pl.ClickBatch(good.dense, indices, None, good.labels)
    if kind == "empty" and rank == 2:
        batches[1] = dlrm_pl.ClickBatch(good.dense[:0], good.indices[:, :0], None, good.labels[:0])
    if kind == "NaN" and rank == 1:
        batches[1] = dlrm_pl.ClickBatch(good.dense * torch.nan, good.indices, None, good.labels)
    return torch.utils.data.DataLoader(batches, batch_size=None)

for kind in ("index", "empty", "NaN"):
    trainer, module, data = new(path, limit_val_batches=0)
    try:
        trainer.fit(module, damaged(kind))
    except DLRMError as error:
        found["errors"][kind] = f"{type(error).__name__}: {error}"
def fails(model):
    raise ValueError("no score")

for name, eval_func in (("int8", None), ("failed", fails)):
    callback = dlrm_pl.QuantizationCallback(folder / name, max_trials=1, eval_func=eval_func)
    trainer, module, data = new(path, limit_val_batches=0, limit_train_batches=3, callbacks=[callback])
    try:
        trainer.fit(module, datamodule=data)
    except DLRMError as error:
        found["errors"][name] = f"{type(error).__name__}: {error}"
(folder / f"{rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 rows to train on, and 175 each to validate and to test."""
    folder = tmp_path_factory.mktemp("synthetic") / "dataset"
    dlrm_pl.synthesize(folder, rows=1_050, days=3, seed=1, label_rate=0.2, best_auroc=0.85, max_table_size=100)
    return folder


@pytest.fixture(scope="module")
def raw_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw log of 100 rows."""
    folder = tmp_path_factory.mktemp("raw") / "logs"
    dlrm_pl.synthesize(folder, rows=100, days=2, seed=2, label_rate=0.2, max_table_size=100, format="raw")
    return sorted(path for path in folder.iterdir() if path.name.startswith("day"))[0]


@pytest.fixture(scope="module")
def scored(dataset: Path, raw_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    run_sharded(f"path, raw = {str(dataset)!r}, {str(raw_log)!r}\n{_TRAIN}{_SCRIPT}", folder, _RANKS)
    return folder


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """Import the functions of the script for one process."""
    names: dict[str, Any] = {"dlrm_pl": dlrm_pl, "torch": torch}
    exec(_TRAIN, names)
    return names


@pytest.mark.parametrize("shuffle", _SHUFFLES)
def test_an_epoch_trains_the_weights_of_one_process(
    scored: Path, alone: dict[str, Any], dataset: Path, shuffle: str
) -> None:
    torch.manual_seed(3)
    data = alone["data_of"](dataset, 32 * _RANKS, shuffle)
    module = alone["module_of"](data)
    alone["trainer_of"](1).fit(module, datamodule=data)
    found = load_checkpoint(scored / f"{shuffle}.ckpt")
    for name, weight in module.named_parameters():
        # Sums over a batch have a different order, 8 times.
        torch.testing.assert_close(found.get_parameter(name), weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shuffle", _SHUFFLES)
def test_metrics_are_those_of_one_process(scored: Path, alone: dict[str, Any], dataset: Path, shuffle: str) -> None:
    module, data = load_checkpoint(scored / f"{shuffle}.ckpt"), alone["data_of"](dataset, 32)
    trainer = alone["trainer_of"](1)
    expected = trainer.validate(module, datamodule=data, verbose=False)[0]
    expected |= trainer.test(module, datamodule=data, verbose=False)[0]
    assert len(expected) == 8
    for rank in range(_RANKS):
        metrics = _found(scored, rank)["metrics"][shuffle]
        assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-8)


@pytest.mark.parametrize(("output", "rows"), [("test.npy", 175), ("raw.npy", 50)])
def test_predictions_are_those_of_all_rows_in_order(
    scored: Path, alone: dict[str, Any], dataset: Path, raw_log: Path, output: str, rows: int, tmp_path: Path
) -> None:
    options = {"predict_raw": raw_log} if output == "raw.npy" else {}
    data = alone["data_of"](dataset, 32, **options)
    module = load_checkpoint(scored / "row.ckpt")
    alone["trainer_of"](1).predict(module, datamodule=data, output=tmp_path / output)
    found, expected = np.load(scored / output), np.load(tmp_path / output)
    assert len(found) == rows
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.unique(expected).size > 0.9 * rows, "equal probabilities would hide another order"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("index", r"LookupIndexError: In batch 1 of epoch 0, rank 1: Table 4 has \d+ rows, but the index is 1000\. .*"),
        ("empty", r"ShapeError: rank 2: the batch has no samples, so it has no mean loss\. .*"),
        ("failed", r"EvaluationError: rank 0: .*no score.*"),
        ("NaN", r"NonFiniteError: rank 1: The loss is NaN at step 1, .*: dense feature 0 of sample 0 .* is nan\. .*"),
    ],
)
def test_an_error_of_one_process_stops_all_with_its_message(scored: Path, kind: str, message: str) -> None:
    found = {_found(scored, rank)["errors"][kind] for rank in range(_RANKS)}
    assert len(found) == 1
    assert re.fullmatch(message, str(found.pop()))


def test_the_first_process_quantizes_the_tables_of_all(scored: Path, dataset: Path) -> None:
    artifact = dlrm_pl.load_artifact(scored / "int8")
    rows = (np.zeros((1, 13)), np.zeros((1, 26), np.int64))
    assert 0 < dlrm_pl.Predictor(artifact).predict(rows)[0] < 1
    assert "int8" not in _found(scored, 0)["errors"]
    assert [path.name for path in scored.glob(".*")] == []


def _found(folder: Path, rank: int) -> dict[str, Any]:
    """Return what a process wrote."""
    found: dict[str, Any] = json.loads((folder / f"{rank}.json").read_text())
    return found
