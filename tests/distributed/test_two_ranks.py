"""Two processes with sharded tables train the model that one process trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dlrm_pl
from tests.support.sharded import needs_engine, run_sharded

pytestmark = [pytest.mark.long, needs_engine, pytest.mark.filterwarnings("ignore::UserWarning")]

_TRAIN = """
from contextlib import nullcontext
from dlrm_pl.model.training.weight_init import weights_on_shards

def train(batch_size, sharded, data, accumulated=1, **options):
    from dlrm_pl.distributed.strategy import ShardedStrategy

    strategy = ShardedStrategy(**sharded) if sharded else "auto"
    torch.manual_seed(3)
    data = dlrm_pl.DLRMDataModule(data, batch_size=batch_size, shuffle="none")
    with weights_on_shards() if sharded else nullcontext():
        module = dlrm_pl.DLRMModule(
            data.table_sizes, 8, [0, 16, 8], [16, 1], columns=data.columns, engine="torch", **options
        )
    trainer = dlrm_pl.DLRMTrainer(
        accelerator="cpu", devices=2 if sharded else 1, strategy=strategy, max_steps=20, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        limit_val_batches=0, accumulate_grad_batches=accumulated,
    )
    trainer.fit(module, datamodule=data)
    return trainer, module
"""


@pytest.fixture(scope="module")
def trained(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    run_sharded(
        f"""{_TRAIN}
data = {str(synthetic_folder)!r}
for sharding in ("table_wise", "row_wise"):
    trainer, module = train(32, {{"sharding": sharding}}, data)
    parts = [tuple(part) for part in module.model.embedding_bags.parts()]
    dense = {{name: value.detach() for name, value in module.named_parameters()}}
    torch.save({{"parts": parts, "dense": dense}}, folder / f"{{sharding}}-{{trainer.global_rank}}.pt")
""",
        folder,
    )
    return folder


@pytest.fixture(scope="module")
def alone(synthetic_folder: Path) -> dlrm_pl.DLRMModule:
    names: dict[str, object] = {"dlrm_pl": dlrm_pl, "torch": torch}
    exec(_TRAIN, names)
    return names["train"](32, None, str(synthetic_folder), accumulated=2)[1]  # type: ignore[operator]


@pytest.mark.parametrize("sharding", ["table_wise", "row_wise"])
def test_weights_are_those_of_one_process(trained: Path, alone: dlrm_pl.DLRMModule, sharding: str) -> None:
    tables = [torch.full_like(table, torch.nan) for table in alone.model.embedding_bags.parameters()]
    for rank in range(2):
        found = torch.load(trained / f"{sharding}-{rank}.pt")
        for table, row, column, values in found["parts"]:
            tables[table].data[row : row + values.shape[0], column : column + values.shape[1]] = values
        for name, values in found["dense"].items():
            torch.testing.assert_close(values, alone.get_parameter(name), rtol=0, atol=1e-6)
    for table, own in zip(tables, alone.model.embedding_bags.parameters(), strict=True):
        torch.testing.assert_close(table, own, rtol=0, atol=1e-6)
