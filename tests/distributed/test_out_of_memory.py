"""Two processes train a model that is larger than the memory limit of either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dlrm_pl
from dlrm_pl.columns.columns import Columns
from tests.support.processes.sharded import needs_engine, run_sharded

pytestmark = [pytest.mark.slow, needs_engine, pytest.mark.timeout(900)]

_GIB = 1 << 30
_ROWS, _DIM = 1 << 24, 64  # 4 GiB of float32.
_COLUMNS: dict[str, Any] = {
    "label": "click",
    "dense": [{"name": "visits", "type": "integer", "transform": "log1p"}],
    "sparse": [
        {"name": "user", "kind": "integer", "ids": "hash", "rows": _ROWS},
        {"name": "shop", "kind": "integer", "ids": "hash", "rows": 50},
    ],
}

_SCRIPT = f"""
import resource

# What a process allocates itself; libraries and shared pages are not counted.
resource.setrlimit(resource.RLIMIT_DATA, ({3 * _GIB}, {3 * _GIB}))
from dlrm_pl.distributed.strategy import ShardedStrategy
from dlrm_pl.model.training.weight_init import weights_on_shards

data = dlrm_pl.DLRMDataModule(folder / "data", batch_size=256, shuffle="none")
ranks = int(os.environ["WORLD_SIZE"])
with weights_on_shards():
    module = dlrm_pl.DLRMModule(data.table_sizes, {_DIM}, [0, {_DIM}], [8, 1], columns=data.columns, engine="torch")
trainer = dlrm_pl.DLRMTrainer(
    accelerator="cpu", devices=ranks, strategy=ShardedStrategy("row_wise", memory="8GiB"), max_steps=10, logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
)
trainer.fit(module, datamodule=data)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
(folder / f"{{ranks}}-{{os.environ['RANK']}}").write_text(f"{{trainer.global_step}} {{peak}}")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    columns = Columns.of_statement(_COLUMNS, "columns")
    dlrm_pl.synthesize(folder / "data", rows=12_000, days=3, seed=1, label_rate=0.2, columns=columns)
    return folder


def test_two_processes_of_3_gib_train_a_model_of_4_gib(folder: Path) -> None:
    run_sharded(_SCRIPT, folder)
    for rank in range(2):
        steps, peak = map(int, (folder / f"2-{rank}").read_text().split())
        assert steps == 10
        assert 2 * _GIB < peak < 3 * _GIB


def test_one_process_of_3_gib_cannot(folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"not enough memory|can't allocate memory"):
        run_sharded(_SCRIPT, folder, 1)
