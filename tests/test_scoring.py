"""Click probabilities for rows of every kind that users have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.errors import ConfigurationError, LookupIndexError, ShapeError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.scoring import probabilities_of
from tests.support import tiny

RNG = np.random.default_rng(0)
DENSE = RNG.integers(0, 50, (20, 13))
SPARSE = np.stack([RNG.integers(0, size, 20) for size in tiny.ARCHITECTURE.table_sizes], axis=1)
BATCH = ClickBatch.from_arrays(DENSE, SPARSE)


@pytest.fixture(scope="module")
def model() -> DLRM:
    return tiny.model()


@pytest.fixture(scope="module")
def expected(model: DLRM) -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(model(BATCH)).numpy()


def frame() -> dict[str, np.ndarray]:
    dense = {f"I{number + 1}": column for number, column in enumerate(DENSE.T)}
    return dense | {f"C{number + 1}": column for number, column in enumerate(SPARSE.T)}


def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, 20, 7):
        yield DENSE[start : start + 7], SPARSE[start : start + 7]


@pytest.mark.parametrize(
    "rows",
    [
        *(BATCH, [BATCH], tiny.as_multi_hot(BATCH), (DENSE, SPARSE), [DENSE, SPARSE], (DENSE, SPARSE, DENSE[:, 0])),
        (torch.from_numpy(DENSE).float(), torch.from_numpy(SPARSE).int()),
        *({"dense": DENSE, "sparse": SPARSE}, frame(), list(pairs())),
        DataLoader([BATCH], batch_size=None),
        DataLoader(list(zip(DENSE, SPARSE, strict=True)), batch_size=6),
    ],
)
def test_rows_of_any_kind_get_the_same_probabilities_in_order(model: DLRM, expected: np.ndarray, rows: Any) -> None:
    for batch_size in (8192, 3):
        found = model.predict(rows, batch_size=batch_size)
        assert (found.dtype, found.shape) == (np.float32, (20,))
        # Blocks of other sizes are summed in another order.
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_generator_of_batches_is_scored_and_no_rows_give_no_probabilities(model: DLRM, expected: np.ndarray) -> None:
    np.testing.assert_allclose(model.predict(pairs()), expected, rtol=1e-5)
    assert model.predict([]).shape == model.predict((DENSE[:0], SPARSE[:0])).shape == (0,)


def test_the_split_of_a_dataset_is_scored(synthetic_folder: Path) -> None:
    folder = DatasetFolder.open(synthetic_folder)
    dataset = ClickDataset.of_split(folder, "val", stop=100)
    sizes = list(folder.table_sizes)
    module = DLRMModule(sizes, embedding_dim=4, bottom_mlp=[13, 4], top_mlp=[1])
    found = module.predict(dataset, batch_size=30)
    assert found.shape == (100,)
    np.testing.assert_allclose(found, module.predict(dataset.batches(100)), rtol=1e-5)


def test_rows_of_another_kind_are_refused(model: DLRM) -> None:
    with pytest.raises(ConfigurationError, match=r"predict takes a ClickBatch.*not a value of type ndarray"):
        model.predict(DENSE)
    with pytest.raises(ConfigurationError, match=r"predict takes a ClickBatch.*not a value of type str"):
        model.predict("rows.csv")
    with pytest.raises(ConfigurationError, match=r"4 arrays were given"):
        model.predict((DENSE, SPARSE, SPARSE, SPARSE))
    with pytest.raises(ConfigurationError, match=r"no column 'I1'"):
        model.predict({"dense": DENSE})
    with pytest.raises(ConfigurationError, match="batch_size=0 must be at least 1"):
        model.predict(BATCH, batch_size=0)


def test_rows_that_do_not_fit_the_model_are_refused(model: DLRM) -> None:
    with pytest.raises(ShapeError, match="dense has 20 rows and sparse has 3"):
        model.predict((DENSE, SPARSE.T))
    with pytest.raises(ShapeError, match=r"3 tables need indices of shape \[T, B\], got \[2, 20\]"):
        model.predict((DENSE, SPARSE[:, :2]))
    with pytest.raises(ShapeError, match="takes 13 dense features"):
        model.predict((DENSE[:, :5], SPARSE))


@pytest.mark.parametrize("as_given", [lambda batch: batch, tiny.as_multi_hot])
def test_an_index_outside_its_table_is_named(model: DLRM, as_given: Any) -> None:
    beyond = SPARSE.copy()
    beyond[4, 1] = 7
    with pytest.raises(LookupIndexError, match="Table 1 has 7 rows, but the index is 7"):
        model.predict(as_given(ClickBatch.from_arrays(DENSE, beyond)))


def test_probability_depends_on_its_logit_alone() -> None:
    logits = torch.randn(40_000, generator=torch.Generator().manual_seed(0)) * 5
    together = probabilities_of(logits)
    for start, stop in ((0, 1), (7, 8), (3, 36), (100, 165), (20_000, 39_999)):
        np.testing.assert_array_equal(probabilities_of(logits[start:stop].clone()), together[start:stop])
    np.testing.assert_allclose(together, torch.sigmoid(logits.double()).numpy(), rtol=1e-6)
    assert probabilities_of(torch.empty(0)).shape == (0,)
