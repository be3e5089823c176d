"""TorchRec's planner makes plans for clusters that do not exist, in seconds and without their memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.sharding_plan import ShardingPlan
from dlrm_pl.distributed.plan.table import plan_summary, plan_text
from tests.support.processes.sharded import needs_engine
from tests.support.workloads import GIB, TERABYTE, terabyte, workload

pytestmark = [needs_engine, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def plan() -> ShardingPlan:
    return make_plan(terabyte(), Hosts(8, 4, 64 * GIB))


@pytest.mark.parametrize("hosts", [4, pytest.param(64, marks=pytest.mark.slow)])
def test_terabyte_fits_many_hosts(hosts: int) -> None:
    found = make_plan(terabyte(), Hosts(hosts, 4, 64 * GIB))
    assert found.peak_memory <= 16 * GIB
    assert len(found.ranks) == 4 * hosts


def test_no_table_is_lost(plan: ShardingPlan) -> None:
    assert [table.rows for table in plan.tables] == list(TERABYTE)
    for table in plan.tables:
        covered = sum(shard.rows * shard.columns for shard in table.shards())
        assert covered == table.rows * 128 * (32 if table.sharding == "data_parallel" else 1)


def test_small_tables_are_copied_and_large_ones_are_not(plan: ShardingPlan) -> None:
    copied = {table.rows for table in plan.tables if table.sharding == "data_parallel"}
    assert copied == {rows for rows in TERABYTE if rows < 2048}


def test_a_table_that_fits_no_process_is_divided_by_rows() -> None:
    start = time.perf_counter()
    tracemalloc.start()
    found = make_plan(workload([10_000_000_000], dim=128), Hosts(64, 4, 128 * GIB))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.tables[0].sharding == "row_wise"
    assert found.tables[0].bytes == 5_120_000_000_000
    assert time.perf_counter() - start < 30
    assert peak < 100 << 20


def test_shardings_of_some_tables_are_kept() -> None:
    found = make_plan(workload([5000, 6000, 7]), Hosts(1, 2, 8 * GIB), {"1": "row_wise", "2": "table_wise"})
    assert [table.sharding for table in found.tables] == ["table_wise", "row_wise", "table_wise"]


def test_the_text_has_all_tables_and_the_totals(plan: ShardingPlan) -> None:
    text = plan_text(plan)
    assert "plan for 8 hosts with 4 processes and 64 GiB each" in text
    assert text.count("data_parallel") == sum(rows < 2048 for rows in TERABYTE)
    assert "40,000,000   19.1 GiB" in text
    assert "of 16 GiB; sent by a process in a step" in text
    assert "\n" not in plan_summary(plan)


def test_the_plan_is_plain_data(plan: ShardingPlan) -> None:
    import json

    data = json.loads(json.dumps(plan.to_dict()))
    assert data["hosts"]["processes"] == 4
    assert len(data["tables"]) == 26
    assert data["ranks"][31]["peak_memory_bytes"] == plan.ranks[31].memory.total
