"""ClickBatch from the arrays, frames and jagged tensors that users have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch, first_samples, to_batch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError, ShapeError

RNG = np.random.default_rng(0)
DENSE, IDS, LABELS = RNG.integers(0, 1000, (5, 13)), RNG.integers(0, 100, (5, 26)), np.array([0, 1, 1, 0, 1])
EXPECTED = to_batch(np.column_stack([LABELS, DENSE, IDS]).astype(np.int32), Columns.criteo())


def frame() -> dict[str, np.ndarray]:
    dense = {f"I{number + 1}": column for number, column in enumerate(DENSE.T)}
    return dense | {f"C{number + 1}": column for number, column in enumerate(IDS.T)} | {"label": LABELS}


class Frame:
    """The common interface of pandas and polars."""

    class Column:
        def __init__(self, values: np.ndarray) -> None:
            self._values = values

        def to_numpy(self) -> np.ndarray:
            return self._values

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Frame.Column:
        return Frame.Column(self._columns[name])


class Jagged:
    """The methods of TorchRec's KeyedJaggedTensor that are used."""

    def __init__(self, keys: int, values: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor | None = None):
        self._keys, self._values, self._offsets, self._weights = keys, values, offsets, weights

    def keys(self) -> list[str]:
        return [f"C{number + 1}" for number in range(self._keys)]

    def values(self) -> torch.Tensor:
        return self._values

    def offsets(self) -> torch.Tensor:
        return self._offsets

    def weights_or_none(self) -> torch.Tensor | None:
        return self._weights


def assert_same(batch: ClickBatch, expected: ClickBatch = EXPECTED) -> None:
    for ours, theirs in zip(batch, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if isinstance(ours, torch.Tensor):
            assert (ours.dtype, ours.is_contiguous()) == (theirs.dtype, True)
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dense", [np.int16, np.int64, np.float16, np.float64, torch.int32, torch.float64])
@pytest.mark.parametrize("ids", [np.uint8, np.int32, np.uint64, torch.int32, torch.uint8])
def test_arrays_of_any_number_type_make_the_batch_of_a_dataset(dense: type, ids: type) -> None:
    def converted(values: np.ndarray, kind: type | torch.dtype) -> object:
        return torch.from_numpy(values).to(kind) if isinstance(kind, torch.dtype) else values.astype(kind)

    assert_same(ClickBatch.from_arrays(converted(DENSE, dense), converted(IDS, ids), LABELS.astype(bool)))


def test_a_frame_makes_the_batch_of_a_dataset() -> None:
    assert_same(ClickBatch.from_frame(frame()))
    assert_same(ClickBatch.from_frame(Frame(frame() | {"day": np.array(["x"] * 5)})))
    assert_same(ClickBatch.from_frame(frame() | {"C2": IDS[:, 1].astype(object)}))
    unlabelled = {name: column for name, column in frame().items() if name != "label"}
    assert_same(ClickBatch.from_frame(unlabelled), EXPECTED._replace(labels=None))


def test_missing_and_negative_counts_are_zero_as_in_preprocessing() -> None:
    dense = np.array([[np.nan, -2.0, 0.0, 1.0]])
    batch = ClickBatch.from_arrays(dense, [[0]])
    assert batch.dense.tolist() == [[0.0, 0.0, 0.0, pytest.approx(np.log(2))]]
    assert ClickBatch.from_arrays(dense[:, 1:], [[0]], take_log=False).dense.tolist() == [[-2.0, 0.0, 1.0]]


def test_the_tensors_of_a_batch_do_not_share_memory_with_the_arrays() -> None:
    dense, ids = np.zeros((2, 13), np.float32), np.zeros((2, 1), np.int64)
    batch = ClickBatch.from_arrays(dense, ids, take_log=False)
    dense[:], ids[:] = 7, 7
    assert not batch.dense.any()
    assert not batch.indices.any()


def test_a_keyed_jagged_tensor_is_a_multi_hot_batch() -> None:
    values, offsets = torch.tensor([4, 5, 6, 7], dtype=torch.int32), torch.tensor([0, 2, 3, 3, 4], dtype=torch.int32)
    batch = ClickBatch.from_kjt(torch.zeros(2, 13), Jagged(2, values, offsets), [0, 1])
    assert_same(batch, ClickBatch(torch.zeros(2, 13), values.long(), offsets.long(), torch.tensor([0.0, 1.0])))
    with pytest.raises(ShapeError, match="has 5 offsets, but 3 keys and 2 rows of dense require 7"):
        ClickBatch.from_kjt(torch.zeros(2, 13), Jagged(3, values, offsets))
    with pytest.raises(ConfigurationError, match="has weights"):
        ClickBatch.from_kjt(torch.zeros(2, 13), Jagged(2, values, offsets, torch.ones(4)))


@pytest.mark.parametrize(
    ("dense", "ids", "labels", "error", "message"),
    [
        (DENSE, IDS.T, None, ShapeError, "dense has 5 rows and sparse has 26"),
        (DENSE[0], IDS, None, ShapeError, r"dense has shape \[13\], but must be \[B, N\]"),
        (DENSE, IDS[0], None, ShapeError, r"sparse has shape \[26\], but must be \[B, T\]"),
        (DENSE, IDS, LABELS[:3], ShapeError, "3 labels for 5 samples"),
        (DENSE, IDS, LABELS[:, None], ShapeError, r"labels has shape \[5, 1\]"),
        (DENSE, IDS, LABELS + 1, ConfigurationError, "labels contains 2.0, but every label must be 0 or 1"),
        (DENSE, IDS.astype(float), None, ConfigurationError, r"sparse has dtype float64.* integer ids"),
        (DENSE.astype(str), IDS, None, ConfigurationError, "dense has dtype <U"),
    ],
)
def test_arrays_that_make_no_batch_are_refused(
    dense: np.ndarray, ids: np.ndarray, labels: np.ndarray | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ClickBatch.from_arrays(dense, ids, labels)


def test_a_column_that_is_missing_or_text_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"no column 'C26'.*I1, I2"):
        ClickBatch.from_frame({name: column for name, column in frame().items() if name != "C26"})
    with pytest.raises(ConfigurationError, match=r"column C3 has dtype <U8.*predict --raw"):
        ClickBatch.from_frame(frame() | {"C3": np.array(["68fd1e64"] * 5)})


def test_a_batch_without_labels_says_so_where_they_are_needed() -> None:
    batch = EXPECTED._replace(labels=None)
    assert first_samples(batch, 2).labels is None
    with pytest.raises(ShapeError, match="has no labels"):
        _ = batch.known_labels
