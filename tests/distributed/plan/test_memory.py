"""The memory of a plan includes the tables, their optimizer's state, the buffers and the process itself."""

from __future__ import annotations

import pytest

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.memory import PROCESS_BYTES
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from tests.support.workloads import GIB, workload

HOSTS = Hosts(2, 2, 64 * GIB)


@pytest.mark.parametrize(("optimizer", "of_weights"), [("sgd", 0.0), ("rwsadagrad", 1 / 16), ("adagrad", 1.0)])
def test_the_optimizers_state_is_counted(optimizer: str, of_weights: float) -> None:
    settings = OptimizerSettings(optimizer=optimizer)  # type: ignore[arg-type]
    plan = make_plan(workload([1_000_000, 4], optimizers=settings), HOSTS, "row_wise")
    for rank in plan.ranks:
        assert rank.memory.state == of_weights * rank.memory.tables
    assert sum(rank.memory.tables for rank in plan.ranks) == 1_000_004 * 16 * 4


def test_buffers_grow_with_the_batches_of_all_processes() -> None:
    small, large, more = (
        make_plan(workload(batch_size=size), hosts, "row_wise").ranks[0].memory.buffers
        for size, hosts in ((100, HOSTS), (200, HOSTS), (100, Hosts(4, 2, 64 * GIB)))
    )
    assert large == pytest.approx(2 * small, abs=1)
    assert 1.8 * small < more < 2.1 * small


def test_batches_that_are_scored_count_if_they_are_larger() -> None:
    trained, scored = (
        make_plan(workload(batch_size=100, eval_batch_size=size), HOSTS, "table_wise").ranks[0].memory
        for size in (0, 1000)
    )
    assert scored.buffers == pytest.approx(10 * trained.buffers, abs=10)
    assert scored.batch > 4 * trained.batch
    smaller = make_plan(workload(batch_size=100, eval_batch_size=50), HOSTS, "table_wise").ranks[0].memory
    assert smaller == trained


def test_every_process_has_its_fixed_part() -> None:
    plan = make_plan(workload(), HOSTS, "table_wise")
    assert all(rank.memory.process == PROCESS_BYTES for rank in plan.ranks)
    assert plan.peak_memory == max(rank.memory.total for rank in plan.ranks) > PROCESS_BYTES
