"""The peak memory that a plan states is what processes really take for their parts of tables, or slightly more."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.model.architecture import Architecture
from tests.support.processes.sharded import needs_engine, run_sharded

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
ROWS, BATCH = 40_000, 2048


@needs_engine
@pytest.mark.slow  # Trains half a gigabyte of tables.
@pytest.mark.parametrize(
    ("sharding", "model"),
    [
        ("table_wise", {}),
        ("row_wise", {}),
        ("table_wise", {"interaction": "dcn", "cross_layers": 3, "cross_rank": 512}),
    ],
)
def test_the_planned_peak_is_that_of_real_processes(
    tmp_path: Path, sharding: str, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "scale_worker", raising=False)
    import scale_worker

    run_sharded(
        f"""
import argparse
sys.path.insert(0, {str(BENCHMARKS)!r})
import scale_worker
scale_worker.MODEL = {model!r}
scale_worker.work(argparse.Namespace(
    contender={sharding!r}, folder=folder, rows={ROWS}, batch_size={BATCH}, steps=4, threads=1, weights=False,
    profile=False,
))
""",
        tmp_path,
    )
    architecture = Architecture(
        table_sizes=(ROWS,) * scale_worker.TABLES,
        embedding_dim=scale_worker.DIM,
        bottom_mlp=tuple(scale_worker.BOTTOM),
        top_mlp=tuple(scale_worker.TOP),
        **model,
    )
    plan = make_plan(Workload(architecture, batch_size=BATCH // 2), Hosts(1, 2, scale_worker.MEMORY), sharding)
    for rank in plan.ranks:
        peak = 1e6 * json.loads((tmp_path / f"{rank.rank}.json").read_text())["peak_rss_mb"]
        assert 0.7 * rank.memory.total < peak < 1.02 * rank.memory.total
