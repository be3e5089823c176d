"""Tables are updated alike, even if a process also holds parts without rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes.sharded import needs_engine, run_sharded

pytestmark = needs_engine

_SCRIPT = """
import json
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
from fbgemm_gpu.split_table_batched_embeddings_ops_training import ComputeDevice, SplitTableBatchedEmbeddingBagsCodegen
from dlrm_pl.distributed.empty_parts import keep_apart

SAMPLES, DIM = 64, 16

def lookup(rows, optimizer):
    tables = [(count, DIM, EmbeddingLocation.HOST, ComputeDevice.CPU) for count in rows]
    made = SplitTableBatchedEmbeddingBagsCodegen(tables, optimizer=optimizer, learning_rate=0.05, eps=1e-8)
    for weight in made.split_embedding_weights():
        weight.zero_()
    keep_apart([torch.nn.ModuleList([made])])
    return made

def trained(rows, optimizer):
    random = torch.Generator().manual_seed(1)
    made, place = lookup(rows, optimizer), rows.index(25)
    used = torch.tensor([count > 0 for count in rows]).repeat_interleave(SAMPLES)
    gradient = torch.zeros(SAMPLES, len(rows) * DIM)
    for _ in range(3):
        gradient[:, place * DIM : (place + 1) * DIM] = torch.randn(SAMPLES, DIM, generator=random)
        indices = torch.randint(25, (SAMPLES,), generator=random)
        made(indices, torch.cat([torch.zeros(1), used.cumsum(0)]).long()).backward(gradient)
    assert made.split_embedding_weights()[place].any()
    return made.split_embedding_weights()[place]

equal = {
    f"{optimizer.value} {rows}": torch.equal(trained(rows, optimizer), trained([25], optimizer))
    for optimizer in (EmbOptimType.EXACT_SGD, EmbOptimType.EXACT_ADAGRAD, EmbOptimType.EXACT_ROWWISE_ADAGRAD)
    for rows in ([0, 25], [0, 0, 25], [25, 0])
}
sizes = lookup([0, 25, 0, 3, 0], EmbOptimType.EXACT_SGD).hash_size_cumsum.diff().tolist()
(folder / "found.json").write_text(json.dumps([equal, sizes]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Whether tables got the same bits, and the sizes that FBGEMM sees for parts with 0, 25, 0, 3 and 0 rows."""
    folder = tmp_path_factory.mktemp("empty")
    run_sharded(_SCRIPT, folder, 1)
    return json.loads(Path(folder, "found.json").read_text())


def test_a_table_is_changed_as_without_empty_parts(found: Any) -> None:
    equal, _ = found
    assert len(equal) == 9
    assert [name for name, same in equal.items() if not same] == []


def test_every_part_counts_as_a_table(found: Any) -> None:
    """Otherwise FBGEMM reads the size of the last part from memory that is not its own."""
    assert found[1] == [1, 25, 1, 3, 1]
