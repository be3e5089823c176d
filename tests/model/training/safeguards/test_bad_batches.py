"""Batches from any loader that cannot be trained on, or have another form than this package's, with each engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import LookupIndexError, NonFiniteError, ShapeError
from tests.support.native.engines import needs_native
from tests.support.tiny import as_multi_hot
from tests.support.training import assert_same_weights, loader, make_batches, make_module, make_trainer, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

engines = pytest.mark.parametrize("engine", ["torch", pytest.param("native", marks=needs_native)])


@engines
@pytest.mark.parametrize("make", [make_trainer, quiet_trainer])
def test_empty_batch_is_refused(engine: str, make: Callable[..., Any]) -> None:
    module = make_module(engine=engine)
    empty = make_batches(1, b=0)
    with pytest.raises(ShapeError, match=r"There are no samples in batch 2 of epoch 0, so it has no mean loss"):
        make(enable_checkpointing=False, max_epochs=1).fit(module, loader(make_batches(2) + empty))


@pytest.mark.each_value
@engines
@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("index", [5, -1, 2**40])
def test_index_outside_its_table_is_named(engine: str, multi_hot: bool, index: int) -> None:
    batches = make_batches(3)
    expected = make_module(engine=engine)
    make_trainer().fit(expected, loader(batches[:2]))
    batches[2].indices[1, 7] = index
    if multi_hot:
        batches[2] = as_multi_hot(batches[2])
    module = make_module(engine=engine)
    with pytest.raises(LookupIndexError, match=rf"batch 2 of epoch 0: table 1 has 5 rows, but the index is {index}\."):
        make_trainer().fit(module, loader(batches))
    assert_same_weights(module, expected)


@engines
def test_label_that_is_not_finite_is_named(engine: str) -> None:
    batch = make_batches(1)[0]
    batch.known_labels[3] = torch.nan
    with pytest.raises(NonFiniteError, match="the label of sample 3 of the batch is nan"):
        make_trainer().fit(make_module(engine=engine), loader([batch]))


def turned(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same values, with gaps between those of a row."""
    return tensor.T.contiguous().T


@engines
@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch._replace(indices=turned(batch.indices)),
        lambda batch: batch._replace(indices=batch.indices.int()),
        lambda batch: batch._replace(dense=turned(batch.dense)),
        lambda batch: batch._replace(labels=batch.labels.double()),
        lambda batch: batch._replace(labels=batch.labels.repeat_interleave(2)[::2]),
    ],
    ids=["indices with gaps", "int32", "dense with gaps", "float64 labels", "labels with gaps"],
)
def test_tensors_of_another_form_are_the_same_batch(engine: str, change: Callable[[ClickBatch], ClickBatch]) -> None:
    modules = [make_module(engine=engine), make_module(engine=engine)]
    batches = make_batches(2)
    make_trainer().fit(modules[0], loader(batches))
    make_trainer().fit(modules[1], loader([change(batch) for batch in batches]))
    assert_same_weights(*modules)
