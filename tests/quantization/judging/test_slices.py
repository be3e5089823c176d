"""Which slice a row is in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.judging.slices.cuts import SliceRows, WorstSlice, cut
from dlrm_pl.quantization.judging.slices.slice_column import SliceColumn
from tests.support import tiny


def column(by: str, columns: Columns | None = None) -> SliceColumn:
    return SliceColumn.find(by, columns)


@pytest.mark.parametrize(
    ("by", "column"),
    [
        ("C1", ("table", 0)),
        ("C26", ("table", 25)),
        ("tables.3", ("table", 3)),
        (3, ("table", 3)),
        ("0", ("table", 0)),
        ("I13", ("dense", 12)),
    ],
)
def test_columns_go_by_the_names_of_the_logs_and_of_the_ops(by: str | int, column: tuple[str, int]) -> None:
    assert WorstSlice(by=by).column() == column


@pytest.mark.parametrize("by", ["C0", "C27", "I14", "I0", "country", "-1", "tables.", "", -1])
def test_name_of_no_column_is_refused(by: str | int) -> None:
    with pytest.raises(ConfigurationError, match=rf"worst_slice\.by={by!r} is not a column"):
        WorstSlice(by=by).check(tiny.ARCHITECTURE)


COLUMNS = Columns(
    "click",
    (
        DenseColumn(name="hour"),
        DenseColumn(name="price", type="float", transform="standardize", mean=5.0, deviation=2.0),
        DenseColumn(name="age", transform="none"),
    ),
    (SparseColumn(name="C3"), SparseColumn(name="site"), SparseColumn(name="tags", at_most=3)),
)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("price", ("dense", 1, "price")),
        ("site", ("table", 1, "site")),
        ("C3", ("table", 0, "C3")),  # Not the third table, as it would be in Criteo's logs.
        ("tables.1", ("table", 1, "site")),
        (1, ("table", 1, "site")),
    ],
)
def test_any_column_goes_by_its_name(by: str | int, expected: tuple[str, int, str]) -> None:
    found = SliceColumn.find(by, COLUMNS)
    assert (found.kind, found.index, found.name) == expected
    assert WorstSlice(by=by).column(COLUMNS) == expected[:2]


def test_columns_of_other_names_or_with_lists_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"by='sites' is not a column\. Did you mean site\? .* tables\.0"):
        SliceColumn.find("sites", COLUMNS)
    for by in ("tags", "tables.2"):
        with pytest.raises(ConfigurationError, match=rf"by='{by}': the column has lists"):
            WorstSlice(by=by).check(tiny.ARCHITECTURE, COLUMNS)


@pytest.mark.parametrize(("by", "in_a_batch"), [("price", [-1.0, 0.0, 1.0]), ("age", [3.0, 5.0, 7.0])])
def test_bins_of_any_transform_name_the_values_of_the_log(by: str, in_a_batch: list[float]) -> None:
    found = cut(np.array(in_a_batch, np.float32), column(by, COLUMNS), 3)
    assert found.names == (f"{by} < 5", f"5 <= {by} < 7", f"{by} >= 7")


def test_table_that_the_model_has_not_is_refused() -> None:
    WorstSlice(by="C3").check(tiny.ARCHITECTURE)
    with pytest.raises(ConfigurationError, match=r"by='C4': this model has only 3 tables"):
        WorstSlice(by="C4").check(tiny.ARCHITECTURE)


@pytest.mark.parametrize(("name", "value"), [("tolerance", -0.1), ("tolerance", float("nan")), ("slices", 1)])
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"worst_slice\.{name}={value}"):
        WorstSlice(by="C1", **{name: value})  # type: ignore[arg-type]


def test_frequent_values_have_a_slice_each_and_all_others_one() -> None:
    values = np.repeat([7, 3, 900, 5, 6], [500, 300, 195, 4, 1])
    found = cut(values, column("C14"), 3)
    assert found.names == ("C14=3", "C14=7", "C14 of other values")
    assert found.numbers(np.array([3, 7, 900, 5, 0, 2**40])).tolist() == [0, 1, 2, 2, 2, 2]
    # 900 is frequent enough and gets its own slice if there is room; 5 and 6 are below 1 %.
    assert cut(values, column("C14"), 16).names == ("C14=3", "C14=7", "C14=900", "C14 of other values")


def test_slices_of_own_columns_say_that_they_are_named_by_ids() -> None:
    values = np.repeat([1, 4], [600, 400])
    assert cut(values, column("site", COLUMNS), 16).names == ("site, id 1", "site, id 4", "site of other values")
    # Values of Criteo's logs are hashes, so certificates keep their short names.
    assert cut(values, column("C14", Columns.criteo()), 16).names == ("C14=1", "C14=4", "C14 of other values")


def test_no_value_is_frequent() -> None:
    found = cut(np.arange(1000), column("C3"), 16)
    assert found.names == ("C3 of other values",)
    assert found.numbers(np.array([5, 2000])).tolist() == [0, 0]


def test_dense_bins_hold_as_many_rows_each_and_name_the_values_of_the_log() -> None:
    values = np.log1p(np.arange(1000, dtype=np.float32))
    found = cut(values, column("I2"), 4)
    assert found.names == ("I2 < 250", "250 <= I2 < 500", "500 <= I2 < 750", "I2 >= 750")
    assert np.bincount(found.numbers(values)).tolist() == [250] * 4


def test_value_that_many_rows_share_makes_no_empty_bins() -> None:
    values = np.log1p(np.array([0.0] * 900 + list(range(1, 101)), dtype=np.float32))
    found = cut(values, column("I1"), 10)
    assert len(found.names) == len(np.unique(found.numbers(values)))
    constant = cut(np.zeros(50, np.float32), column("I1"), 16)
    assert constant.names == ("any I1",)


@pytest.mark.parametrize("by", ["C2", "I5"])
@pytest.mark.parametrize("sizes", [(64, 64, 64), (10, 150, 32)])
def test_slices_depend_on_the_first_rows_and_not_on_batches_or_what_was_asked_before(
    by: str, sizes: tuple[int, ...]
) -> None:
    whole = tiny.batches(1, 192)[0]
    starts = np.cumsum([0, *sizes])
    parts = [ClickBatch(whole.dense[a:b], whole.indices[:, a:b], None, whole.labels[a:b]) for a, b in pairwise(starts)]
    guard = WorstSlice(by=by, slices=5)
    expected = cut(column(by).values(whole)[:100], column(by), 5)
    rows = SliceRows(parts, guard, first_rows=100)
    for count in (7, 192, 100):
        found = rows.first(count)
        assert found.names == expected.names
        assert found.numbers.tolist() == expected.numbers(column(by).values(whole))[:count].tolist()


def test_bags_of_one_are_as_good_as_one_hot_and_other_bags_are_refused() -> None:
    batch = tiny.batches(1, 16)[0]
    assert column("C2").values(tiny.as_multi_hot(batch)).tolist() == batch.indices[1].tolist()
    uneven = ClickBatch(torch.zeros(2, 13), torch.arange(5), torch.tensor([0, 1, 2, 4, 5]), torch.zeros(2))
    with pytest.raises(ConfigurationError, match=r"by='C2': a row has several values of this column, or none"):
        column("C2").values(uneven)
    assert column("C1").values(uneven).tolist() == [0, 1]
