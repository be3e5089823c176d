"""A model whose kernels are called without torch's dispatcher gives the same results as the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch, first_samples
from dlrm_pl.errors import LookupIndexError, NonFiniteError, ShapeError
from dlrm_pl.kernels.int8.selection import available
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.direct import FEW_ROWS, DirectModel
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from dlrm_pl.scoring import probabilities_of
from tests.support import tiny
from tests.support.quantization.int8_models import lowered

pytestmark = pytest.mark.skipif(len(available()) < 2, reason="no native kernels were built")

ARCHITECTURE = tiny.ARCHITECTURE
CROSSED = replace(ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=5, pooling=("sum", "mean", "sum"))


def direct(model: Int8DLRM) -> DirectModel:
    found = DirectModel.of(model)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("architecture", "start"),
    [
        (ARCHITECTURE, {}),
        (ARCHITECTURE, {"tables": "int4"}),
        (ARCHITECTURE, {"tables": "fp16", "interaction": "int8"}),
        (replace(ARCHITECTURE, self_interaction=True), {}),
        (replace(ARCHITECTURE, loss_threshold=0.17), {}),
        (replace(ARCHITECTURE, bottom_mlp=(5, 8)), {"weight_granularity": "per_tensor"}),
        (ARCHITECTURE, {"ops": {"bottom_mlp.0": "bf16", "top_mlp.1": "bf16"}}),
        (CROSSED, {}),
        (replace(CROSSED, loss_threshold=0.17), {"tables": "int4", "weight_granularity": "per_tensor"}),
    ],
)
def test_bits_are_those_of_the_model(architecture: Architecture, start: dict[str, object]) -> None:
    model = lowered(architecture, **start)
    fast = direct(model)
    every = tiny.batches(1, 2049, architecture=architecture)[0]
    for rows in (0, 1, 2, 65, 2048, 2049):
        batch = first_samples(every, rows)
        assert torch.equal(fast(batch), model(batch)), rows
        assert torch.equal(fast.logits(batch), model(batch)), rows
        strided = batch._replace(indices=batch.indices.T.contiguous().T)
        assert torch.equal(fast(strided), model(batch)), rows
    bags = tiny.bags(1, 30, architecture=architecture)[0]
    assert torch.equal(fast(bags), model(bags))
    assert torch.equal(fast.logits(bags), model(bags))


@pytest.mark.parametrize("architecture", [ARCHITECTURE, CROSSED])
@pytest.mark.parametrize("make", [tiny.batches, tiny.bags])
def test_a_few_rows_have_the_same_bits(architecture: Architecture, make: Callable[..., list[ClickBatch]]) -> None:
    model = lowered(architecture)
    fast = direct(model)
    every = make(1, 2 * FEW_ROWS, architecture=architecture)[0]
    # Fewer rows after more: contents of reused memory from an earlier call must not matter.
    for rows in (FEW_ROWS, 1, 2, 33, FEW_ROWS - 1):
        batch = first_samples(every, rows)
        found, expected = fast.few(batch), model(batch)
        assert found is not None
        np.testing.assert_array_equal(found[0], expected.numpy())
        np.testing.assert_array_equal(found[1], probabilities_of(expected))
    kept = found[1].copy()
    fast.few(first_samples(every, 3))
    np.testing.assert_array_equal(found[1], kept)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("called", [False, True])
def test_inference_mode_makes_no_difference(made: bool, called: bool) -> None:
    model, batch = lowered(ARCHITECTURE), tiny.batches(1, 4)[0]
    with torch.inference_mode(made):
        fast = direct(model)
    with torch.inference_mode(called):
        assert torch.equal(fast.logits(batch), model(batch))


def test_rows_that_threads_would_not_share_use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, calls = direct(lowered(ARCHITECTURE)), []
    few = fast.few
    monkeypatch.setattr(fast, "few", lambda batch: calls.append(len(batch.dense)) or few(batch))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    every = tiny.batches(1, FEW_ROWS)[0]
    for rows in (1, 15, 16, FEW_ROWS):
        fast.logits(first_samples(every, rows))
    assert calls == [1, 15]


@pytest.mark.parametrize("architecture", [ARCHITECTURE, CROSSED])
def test_a_large_model_gets_fewer_rows(architecture: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lowered(architecture)
    assert direct(model).few_rows == FEW_ROWS
    products = sum(layer.weight.numel() for layer in model.layers.values())
    # Weights are padded, so they have slightly more products.
    monkeypatch.setattr("dlrm_pl.runtime.direct._FEW_PRODUCTS", 100 * products)
    fast = direct(model)
    assert 1 < fast.few_rows < FEW_ROWS
    for rows in (fast.few_rows, fast.few_rows + 1):
        batch = tiny.batches(1, rows, architecture=architecture)[0]
        found = fast.few(batch)
        assert (found is None) == (rows > fast.few_rows)
        assert torch.equal(fast(batch), model(batch))
        if found is not None:
            np.testing.assert_array_equal(found[1], probabilities_of(model(batch)))


@pytest.mark.parametrize("architecture", [ARCHITECTURE, CROSSED])
def test_what_is_not_a_few_good_rows_goes_the_usual_way(architecture: Architecture) -> None:
    fast, batch = direct(lowered(architecture)), tiny.batches(1, 3)[0]
    bags = tiny.bags(1, 3)[0]
    assert bags.offsets is not None
    assert fast.few(bags) is not None
    indices, dense = batch.indices.clone(), batch.dense.clone()
    indices[1, 2] = ARCHITECTURE.table_sizes[1]
    dense[1, 4] = torch.nan
    assert fast.few(batch) is not None
    others = [
        batch._replace(indices=indices),
        batch._replace(dense=dense),
        batch._replace(dense=batch.dense.double()),
        batch._replace(dense=batch.dense[:, :5].contiguous()),
        batch._replace(indices=batch.indices.T.contiguous().T),
        batch._replace(indices=batch.indices[:, :2].contiguous()),
        first_samples(batch, 0),
        tiny.batches(1, FEW_ROWS + 1)[0],
        bags._replace(offsets=bags.offsets[:-1]),
        bags._replace(offsets=bags.offsets.int()),
        bags._replace(offsets=bags.offsets.flip(0)),
        bags._replace(offsets=bags.offsets + 1),
        bags._replace(indices=bags.indices[:-1]),
        bags._replace(indices=torch.full_like(bags.indices, 99)),
        tiny.bags(1, 3)[0]._replace(indices=torch.zeros(5000, dtype=torch.int64)),
    ]
    assert [fast.few(other) for other in others] == [None] * len(others)
    assert direct(lowered(replace(ARCHITECTURE, loss_threshold=0.17))).few(batch) is None


def test_what_the_kernels_find_is_told() -> None:
    model = lowered()
    batch = tiny.batches(1, 3)[0]
    indices = batch.indices.clone()
    indices[1, 2] = ARCHITECTURE.table_sizes[1]
    with pytest.raises(
        LookupIndexError, match=r"sample 2: row 7 of table 1 was requested, but the table has rows 0 to 6"
    ):
        direct(model)(batch._replace(indices=indices))
    dense = batch.dense.clone()
    dense[1, 4] = torch.inf
    with pytest.raises(NonFiniteError, match="sample 1: feature 4 is NaN or infinite"):
        direct(model)(batch._replace(dense=dense))


def test_tensors_of_another_shape_or_type_are_refused() -> None:
    fast, batch = direct(lowered()), tiny.batches(1, 3)[0]
    for dense in (batch.dense[:, :5].contiguous(), batch.dense.double()):
        with pytest.raises(ShapeError, match=r"takes float32 dense features \[B, 13\]"):
            fast(batch._replace(dense=dense))
    for indices in (batch.indices[:2].contiguous(), batch.indices.int(), batch.indices[:, :2].contiguous()):
        with pytest.raises(ShapeError, match=r"takes int64 indices \[3, 3\]"):
            fast(batch._replace(indices=indices))


@pytest.mark.parametrize("start", [{"linears": "fp32"}, {"linears": "bf16"}, {"interaction": "fp32"}])
def test_models_with_other_parts_are_called_as_before(start: dict[str, object]) -> None:
    assert DirectModel.of(lowered(**start)) is None
    assert DirectModel.of(lowered(CROSSED, {"cross_net.1.v": "bf16"})) is None


def test_without_native_kernels_models_are_called_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lowered()
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    assert DirectModel.of(model) is None
