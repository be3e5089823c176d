"""A plan that does not fit names the table, what is missing and what would fit, which really does."""

from __future__ import annotations

import re

import pytest

from dlrm_pl.distributed.plan.hosts import Hosts, bytes_of
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.errors import ConfigurationError
from tests.support.processes.sharded import needs_engine
from tests.support.workloads import GIB, terabyte, workload

pytestmark = pytest.mark.filterwarnings("ignore")


def _refused(hosts: Hosts, sharding: str, **options: object) -> str:
    work = workload([50_000_000, 100], dim=128, **options) if options else terabyte()
    with pytest.raises(ConfigurationError) as raised:
        make_plan(work, hosts, sharding)
    return str(raised.value)


def test_another_sharding_that_fits_is_named() -> None:
    message = _refused(Hosts(2, 2, 64 * GIB), "table_wise")
    assert re.search(r"Table 0 does not fit: process \d would hold 19.1 GiB of it \(table_wise, 40,000,000", message)
    assert re.search(r"has 32 GiB: [\d.]+ GiB are missing on 2 hosts", message)
    assert "sharding=row_wise would fit" in message
    make_plan(terabyte(), Hosts(2, 2, 64 * GIB), "row_wise")


def test_more_hosts_and_more_memory_that_fit_are_named() -> None:
    message = _refused(Hosts(2, 2, 16 * GIB), "row_wise")
    more = re.search(
        r"What would fit: (\d+) hosts \(with sharding=(\w+)\), or (.+?) on each host \(with .*?=(\w+)", message
    )
    assert more is not None, message
    make_plan(terabyte(), Hosts(int(more[1]), 2, 16 * GIB), more[2])
    with pytest.raises(ConfigurationError):
        make_plan(terabyte(), Hosts(int(more[1]) - 1, 2, 16 * GIB), more[2])
    make_plan(terabyte(), Hosts(2, 2, bytes_of(more[3], "memory")), more[4])


@needs_engine
def test_a_cluster_that_is_too_small_for_all_tables_says_by_how_much() -> None:
    message = _refused(Hosts(2, 2, 16 * GIB), "auto")
    assert "Table 0 is the largest: 19.1 GiB with its optimizer's state, of 97.4 GiB for all tables" in message
    assert re.search(r"Together they have 32 GiB: [\d.]+ GiB are missing", message)
    assert "What would fit: " in message


def test_a_process_without_room_for_any_table_is_told_so() -> None:
    message = _refused(Hosts(1, 4, GIB), "row_wise")
    assert re.search(r"A process needs [\d.]+ MiB before it has any table, but has 256 MiB", message)


def test_the_optimizers_state_is_part_of_what_does_not_fit() -> None:
    from dlrm_pl.model.training.optimizers.settings import OptimizerSettings

    hosts = Hosts(1, 2, 32 * GIB)
    assert make_plan(workload([50_000_000, 100], dim=128), hosts, "row_wise").peak_memory < 16 * GIB
    assert "Table 0 does not fit" in _refused(hosts, "row_wise", optimizers=OptimizerSettings(optimizer="adagrad"))
