"""The forms given to other programs compute the same as the model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dlrm_pl.benchmark.rivals.one_hot import DensePart, OneHotModel
from tests.support import tiny


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"self_interaction": True},
        {"interaction": "cat"},
        {"interaction": "dcn", "cross_layers": 2, "cross_rank": 4},
        {"loss_threshold": 0.3},
    ],
    ids=str,
)
def test_forms_for_other_programs_are_the_same_model(changes: dict[str, object]) -> None:
    model = tiny.model(0, dataclasses.replace(tiny.ARCHITECTURE, **changes))  # type: ignore[arg-type]
    batch = tiny.batches(1, 32)[0]
    wanted = model(batch)
    whole = OneHotModel(model, with_tables=True)
    torch.testing.assert_close(whole(batch.dense, batch.indices), wanted)
    bare = OneHotModel(model, with_tables=False)
    assert not any("tables" in name for name, _ in bare.named_parameters())
    tables = list(model.embedding_bags.parameters())
    torch.testing.assert_close(bare(batch.dense, batch.indices, tables), wanted)
    embeddings = model.embedding_bags(batch.indices, None)
    torch.testing.assert_close(DensePart(model)(batch.dense, embeddings), wanted)
