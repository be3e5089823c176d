"""Trainings that several processes with sharded tables and one process perform alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import dlrm_pl
from dlrm_pl.columns.columns import Columns
from tests.support.processes.sharded import run_sharded

COLUMNS = {
    "label": "click",
    "dense": [{"name": name, "type": "integer", "transform": "log1p"} for name in ("visits", "age")],
    "sparse": [
        {"name": "campaign", "kind": "hex", "ids": "hash", "rows": 50},
        {"name": "shop", "kind": "integer", "ids": "hash", "rows": 7},
        # On four processes, two of them have no row of a table with two rows, with and without tables after it.
        {"name": "country", "kind": "integer", "ids": "hash", "rows": 2},
        {"name": "sizes", "kind": "integer", "ids": "hash", "rows": 40, "bag": 3},
        {"name": "viewed", "kind": "integer", "ids": "hash", "rows": 300, "at_most": 10},
        {"name": "tags", "kind": "string", "ids": "hash", "rows": 31, "at_most": 5, "pooling": "mean"},
        {"name": "currency", "kind": "integer", "ids": "hash", "rows": 2},
    ],
}
"""Columns with several ids per row, summed and averaged, some of them empty."""

ONE_HOT: dict[str, Any] = {
    "label": "click",
    "dense": [{"name": name, "type": "integer", "transform": "log1p"} for name in ("visits", "age")],
    "sparse": [
        {"name": f"C{number}", "kind": "integer", "ids": "hash", "rows": rows}
        for number, rows in enumerate((100, 53, 2, 31, 7, 64), start=1)
    ],
}
"""Columns with one id per row, with large and small tables."""


@dataclass(frozen=True)
class Case:
    """A training of 6 steps, each of 32 rows on each process.

    Attributes:
        strategy: arguments of the ShardedStrategy.
        data: ``one-hot`` or ``multi-hot``.
        accumulated: number of batches whose gradients are accumulated.
        precision: precision of the Trainer.
        options: arguments of the DLRMModule.
        dim: width of an embedding; parts of a row have at least 4 columns.
    """

    strategy: dict[str, Any]
    data: str = "one-hot"
    accumulated: int = 1
    precision: str = "32-true"
    options: dict[str, Any] = field(default_factory=dict)
    dim: int = 8


@dataclass(frozen=True)
class Trained:
    """Weights after a training: whole tables, and the MLPs' parameters by name."""

    tables: list[Tensor]
    dense: dict[str, Tensor]


_SCRIPT = """
import json
from tests.support.processes.sharded_cases import Case, train
from dlrm_pl.distributed.strategy import ShardedStrategy

data, ranks = json.loads((folder / "data.json").read_text())
for name, case in json.loads((folder / "cases.json").read_text()).items():
    case = Case(**case)
    module = train(case, data[case.data], int(os.environ["WORLD_SIZE"]), ranks, ShardedStrategy(**case.strategy))
    parts = [tuple(part) for part in module.model.embedding_bags.parts()]
    dense = {name: value.detach() for name, value in module.named_parameters()}
    torch.save((parts, dense), folder / f"{name}-{os.environ['RANK']}.pt")
"""


def write_multi_hot(folder: Path) -> Path:
    """Write a dataset with the multi-hot columns."""
    columns = Columns.of_statement(COLUMNS, "columns")
    dlrm_pl.synthesize(folder, rows=8_000, days=3, seed=1, label_rate=0.2, best_auroc=0.85, columns=columns)
    return folder


def write_one_hot(folder: Path, *, more_rows: int = 0) -> Path:
    """Write a dataset with the one-hot columns and 8,000 training rows.

    Args:
        folder: the new folder.
        more_rows: number of additional rows in each table, beyond ``ONE_HOT``.
    """
    sparse = [column | {"rows": column["rows"] + more_rows} for column in ONE_HOT["sparse"]]
    columns = Columns.of_statement(ONE_HOT | {"sparse": sparse}, "columns")
    dlrm_pl.synthesize(folder, rows=12_000, days=3, seed=1, label_rate=0.2, best_auroc=0.85, columns=columns)
    return folder


def train(case: Case, data: str, processes: int, shares: int, strategy: Any = "auto") -> dlrm_pl.DLRMModule:
    """Train a case: on fewer processes than ``shares``, each step accumulates the batches of all shares."""
    from dlrm_pl.model.training.weight_init import weights_on_shards

    if strategy == "auto":
        module = untrained(case, data)
    else:
        with weights_on_shards():
            module = untrained(case, data)
    dlrm_pl.DLRMTrainer(
        accelerator="cpu", devices=processes, strategy=strategy, max_steps=6, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        limit_val_batches=0, accumulate_grad_batches=case.accumulated * shares // processes, precision=case.precision,
    ).fit(module, datamodule=_data(data))  # fmt: skip
    return module


def untrained(case: Case, data: str) -> dlrm_pl.DLRMModule:
    """Make the module of a case, with the initial weights of its training."""
    torch.manual_seed(3)
    datamodule = _data(data)
    return dlrm_pl.DLRMModule(
        datamodule.table_sizes, case.dim, [0, 16, case.dim], [16, 1], columns=datamodule.columns, engine="torch",
        **case.options,
    )  # fmt: skip


def _data(data: str) -> dlrm_pl.DLRMDataModule:
    return dlrm_pl.DLRMDataModule(data, batch_size=32, shuffle="none")


def train_sharded(cases: dict[str, Case], data: dict[str, str], folder: Path, *, processes: int, shares: int) -> None:
    """Train cases on that many processes, all in one run, and write their weights into a folder."""
    import json

    (folder / "data.json").write_text(json.dumps([data, shares]))
    (folder / "cases.json").write_text(json.dumps({name: asdict(case) for name, case in cases.items()}))
    run_sharded(_SCRIPT, folder, processes)


def read(folder: Path, name: str, processes: int) -> Trained:
    """Assemble the parts of all processes; each has the same MLPs."""
    saved = [torch.load(folder / f"{name}-{rank}.pt") for rank in range(processes)]
    sizes: dict[int, list[int]] = {}
    for parts, _ in saved:
        for table, row, column, values in parts:
            rows, columns = sizes.setdefault(table, [0, 0])
            sizes[table] = [max(rows, row + values.shape[0]), max(columns, column + values.shape[1])]
    tables = [torch.full(sizes[table], torch.nan) for table in sorted(sizes)]
    for parts, dense in saved:
        for table, row, column, values in parts:
            tables[table][row : row + values.shape[0], column : column + values.shape[1]] = values
        for name_of, values in dense.items():
            assert torch.equal(values, saved[0][1][name_of]), name_of
    return Trained(tables, saved[0][1])


def of_module(module: dlrm_pl.DLRMModule) -> Trained:
    """Return the weights of a module that has all of its tables."""
    dense = {name: value.detach() for name, value in module.named_parameters() if "embedding_bags" not in name}
    return Trained([table.detach() for table in module.model.embedding_bags.parameters()], dense)


def largest_difference(one: Trained, other: Trained) -> float:
    """Return the largest difference between two sets of weights; NaN if one is missing."""
    assert len(one.tables) == len(other.tables)
    assert one.dense.keys() == other.dense.keys()
    pairs = [*zip(one.tables, other.tables, strict=True), *((one.dense[name], other.dense[name]) for name in one.dense)]
    return max(float((first - second).abs().max()) for first, second in pairs)
