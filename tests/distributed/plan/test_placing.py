"""Named shardings put every row and column of a table on exactly one process."""

from __future__ import annotations

import pytest
import torch

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.sharding_plan import SHARDINGS, Sharding
from dlrm_pl.errors import ConfigurationError
from tests.support.workloads import GIB, workload


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("hosts", [Hosts(1, 1, 8 * GIB), Hosts(1, 4, 16 * GIB), Hosts(2, 2, 16 * GIB)], ids=str)
def test_every_value_has_one_place(sharding: Sharding, hosts: Hosts) -> None:
    plan = make_plan(workload([10, 3, 7]), hosts, sharding)
    for table in plan.tables:
        found = torch.zeros(table.rows, table.dim)
        for shard in table.shards():
            found[shard.row : shard.row + shard.rows, shard.column : shard.column + shard.columns] += 1
        copies = hosts.ranks if sharding == "data_parallel" else 1
        assert (found == copies).all(), table


def test_whole_tables_are_spread_by_what_they_look_up() -> None:
    plan = make_plan(workload([1000, 999, 10, 9, 8, 7]), Hosts(1, 2, 8 * GIB), "table_wise")
    assert sorted(table.ranks[0] for table in plan.tables) == [0, 0, 0, 1, 1, 1]
    assert plan.tables[0].ranks != plan.tables[1].ranks, "the two large ones lie apart"


def test_a_table_goes_where_memory_is_left() -> None:
    # Each of two processes has room for 1 GiB of tables; the largest table takes nearly all of one process's memory.
    sizes = [14_000_000, 7_000_000, 6_000_000, 100]
    plan = make_plan(workload(sizes), Hosts(1, 2, int(3.3 * GIB)), "table_wise")
    assert plan.tables[1].ranks == plan.tables[2].ranks != plan.tables[0].ranks


def test_tables_are_named_by_number_or_column() -> None:
    work = workload([10, 20, 30], names=("shop", "brand", "user"))
    given = {"brand": "row_wise", "2": "column_wise", "0": "data_parallel"}
    plan = make_plan(work, Hosts(1, 2, 8 * GIB), given)
    assert [table.sharding for table in plan.tables] == ["data_parallel", "row_wise", "column_wise"]


@pytest.mark.parametrize(
    ("sharding", "message"),
    [
        ("rows", "sharding='rows' must be auto, or one of table_wise, row_wise"),
        ({"3": "row_wise"}, "names the table '3'.* from 0 to 2"),
        ({"user": "row_wise"}, "names the table 'user'"),
        ({"1": "by_row"}, "sharding of table 1='by_row' must be auto"),
    ],
)
def test_unknown_shardings_and_tables_are_refused(sharding: str | dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_plan(workload([10, 20, 30]), Hosts(1, 2, 8 * GIB), sharding)


def test_columns_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Table 0 has 16 columns.* between 8 processes"):
        make_plan(workload([10]), Hosts(1, 8, 64 * GIB), "column_wise")
