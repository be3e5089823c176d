"""The bytes that a plan states match what the kernel counts on the connections of real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from tests.support.processes.sharded import needs_engine, run_sharded
from tests.support.workloads import GIB, workload

ROOT = Path(__file__).parents[3]
SIZES, DIM, BATCH = [1000, 512, 200, 50, 8], 16, 64
SENT_AS = [
    ("table_wise", "fp16"),
    ("row_wise", "fp16"),
    ("mixed", "fp16"),
    ("table_wise", "int8"),
    ("column_wise", "int8"),
]
KINDS = {
    "table_wise": "table_wise",
    "row_wise": "row_wise",
    "column_wise": "column_wise",
    "data_parallel": "data_parallel",
    "mixed": {"0": "row_wise", "1": "table_wise", "2": "column_wise", "3": "data_parallel", "4": "table_wise"},
}

_RUN = f"""
import json, time
import torch.distributed as dist
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
sys.path.insert(0, {str(ROOT)!r})
from wire import sent_bytes
from dlrm_pl.distributed.engine import require_engine
from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.model.training.gradients.data_parallel import average_dense
from tests.support.workloads import GIB, workload
require_engine()
from dlrm_pl.distributed.sharded_tables import ShardedTables
dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()

def settled():
    # A call may end before the last that it sends: gloo waits until the other process is ready to receive it. That one
    # has it when it is here. What gloo's threads send later, on a busy machine long after, are short messages.
    dist.barrier()
    sent = [sent_bytes()]
    while len(sent) < 3 or len(set(sent[-3:])) > 1:
        time.sleep(0.03)
        sent.append(sent_bytes())
    return sent[-1]

def indices(lookups):
    # Every row as often as the others, so that rows lie evenly over the processes.
    return torch.stack([(torch.arange({BATCH} * lookups) * (size // ranks) + rank) % size for size in {SIZES}])

def count(name, kind, hosts, lookups, communication="fp32"):
    work = workload({SIZES}, {DIM}, batch_size={BATCH}, lookups=(lookups,) * {len(SIZES)})
    plan = make_plan(work, hosts, kind)
    tables = ShardedTables(work.architecture, plan, work.optimizers, torch.device("cpu"), communication).train()
    dense = torch.nn.Parameter(torch.zeros(work.dense_parameters))
    ids = indices(lookups)
    offsets = None if lookups == 1 else torch.arange(0, ids.numel() + 1, lookups)
    for step in range(4):
        if step == 1:  # The first step also exchanges what is exchanged once.
            before = settled()
        tables(ids if offsets is None else ids.flatten(), offsets).sum().backward()
        dense.grad = torch.ones_like(dense)
        average_dense([dense])
    sent = round((settled() - before) / 3)
    assert tables(indices(1)[:, : 13 - rank], None).shape == (13 - rank, len({SIZES}), {DIM})  # Any number of rows.
    return sent
"""


def _counts(folder: Path, count: int, calls: str) -> list[dict[str, int]]:
    run_sharded(
        f"{_RUN}\nfound = {{}}\n{calls}\n(folder / f'{{rank}}.json').write_text(json.dumps(found))", folder, count
    )
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    return _counts(
        tmp_path_factory.mktemp("traffic"),
        2,
        f"for lookups in (1, 3):\n    for name, kind in {KINDS}.items():\n"
        f"        found[f'{{name}}-{{lookups}}'] = count(name, kind, Hosts(1, 2, {8 * GIB}), lookups)\n"
        f"for name, communication in {SENT_AS}:\n"
        f"    key, kind = f'{{name}}-{{communication}}', {KINDS}[name]\n"
        f"    found[key] = count(name, kind, Hosts(1, 2, {8 * GIB}), 1, communication)",
    )


@needs_engine
@pytest.mark.parametrize("lookups", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_two_processes_send_what_the_plan_says(counted: list[dict[str, int]], name: str, lookups: int) -> None:
    work = workload(SIZES, DIM, batch_size=BATCH, lookups=(lookups,) * len(SIZES))
    plan = make_plan(work, Hosts(1, 2, 8 * GIB), KINDS[name])
    for rank in plan.ranks:
        # The payload has headers: 144 bytes a message, for at most 40 messages.
        assert 0 <= counted[rank.rank][f"{name}-{lookups}"] - rank.sent_bytes <= 40 * 144


@needs_engine
@pytest.mark.parametrize(("name", "communication"), SENT_AS)
def test_the_plan_knows_the_type_that_is_sent(
    counted: list[dict[str, int]], name: str, communication: Communication
) -> None:
    work, hosts = workload(SIZES, DIM, batch_size=BATCH), Hosts(1, 2, 8 * GIB)
    for rank in make_plan(work, hosts, KINDS[name], communication=communication).ranks:
        assert 0 <= counted[rank.rank][f"{name}-{communication}"] - rank.sent_bytes <= 40 * 144


@pytest.mark.slow
@needs_engine
def test_four_processes_on_two_hosts_do_as_well(tmp_path: Path) -> None:
    kinds = KINDS | {"table_row_wise": "table_row_wise"}
    hosts = Hosts(2, 2, 8 * GIB)
    counted = _counts(
        tmp_path,
        4,
        "import os\nos.environ.update(LOCAL_WORLD_SIZE='2', LOCAL_RANK=str(rank % 2))\n"
        f"for name, kind in {kinds}.items():\n    found[name] = count(name, kind, {hosts!r}, 1)",
    )
    for name, kind in kinds.items():
        for rank in make_plan(workload(SIZES, DIM, batch_size=BATCH), hosts, kind).ranks:
            assert 0 <= counted[rank.rank][name] - rank.sent_bytes <= 120 * 144, (name, rank.rank)


def test_one_process_sends_nothing() -> None:
    assert make_plan(workload(), Hosts(1, 1, 8 * GIB), "row_wise").sent_bytes == 0
