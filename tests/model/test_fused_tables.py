"""Tables in one storage: the same lookups and names, and rows updated by their backward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrm_pl.errors import ShapeError
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.fused_tables import FusedTables
from dlrm_pl.torch_file.writer import write_torch_file
from tests.support import tiny
from tests.support.examples import examples

SIZES = tiny.ARCHITECTURE.table_sizes


def bags(is_mean: tuple[bool, ...] = (), *, fused: bool = True) -> EmbeddingBags:
    torch.manual_seed(0)
    made = EmbeddingBags(SIZES, 8, is_mean)
    if fused:
        made.fused = FusedTables(made.tables, is_mean)
        made.fused.fill()
    return made


@settings(max_examples=examples(20), deadline=None)
@given(seed=st.integers(0, 999), rows=st.integers(2, 6), mean=st.lists(st.booleans(), min_size=3, max_size=3))
def test_lookups_are_those_of_single_tables(seed: int, rows: int, mean: list[bool]) -> None:
    one, other = bags(tuple(mean)), bags(tuple(mean), fused=False)
    with torch.no_grad():
        for batch in (*tiny.batches(1, rows, seed), *tiny.bags(1, rows, seed)):
            torch.testing.assert_close(
                one(batch.indices, batch.offsets), other(batch.indices, batch.offsets), rtol=1e-6, atol=1e-7
            )


def test_names_and_values_of_the_tables_stay_and_they_share_one_storage() -> None:
    one, other = bags(), bags(fused=False)
    assert list(one.state_dict()) == list(other.state_dict()) == [f"tables.{t}.weight" for t in range(3)]
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert len({table.untyped_storage().data_ptr() for table in one.parameters()}) == 1


def test_a_state_dict_loads_into_the_storage() -> None:
    one, other = bags(), bags(fused=False)
    with torch.no_grad():
        for table in other.parameters():
            table.add_(1.0)
    one.load_state_dict(other.state_dict())
    assert one.fused is not None
    assert one.fused.rows is not None
    assert torch.equal(one.fused.rows, torch.cat(list(other.parameters())))


def test_moving_the_model_fills_the_storage_with_the_parameters_that_it_has_then() -> None:
    one, other = bags(fused=False), bags(fused=False)
    one.fused = FusedTables(one.tables)
    one.load_state_dict({name: table + 1 for name, table in other.state_dict().items()}, assign=True)
    one.to("cpu")
    assert one.fused.rows is not None
    assert torch.equal(one.fused.rows, torch.cat(list(other.parameters())) + 1)
    before = one.fused.rows
    one.to("cpu")
    assert one.fused.rows is before


def test_tables_of_the_host_stay_there_and_their_rows_come_to_the_batch() -> None:
    one = bags(fused=False)
    one.fused = FusedTables(one.tables, on_host=True)
    one.fused.fill()
    one._apply(lambda tensor: tensor.to("meta"))
    assert {table.device.type for table in one.parameters()} == {"cpu"}


def test_tables_in_one_storage_keep_their_dtype() -> None:
    with pytest.raises(TypeError, match=r"stay torch\.float32, and cannot become torch\.bfloat16"):
        bags().bfloat16()


def test_the_backward_pass_hands_over_every_row_and_its_gradient() -> None:
    one = bags()
    assert one.fused is not None
    seen: list[tuple[Tensor, Tensor]] = []
    one.fused.update_rows = lambda rows, gradients: seen.append((rows.clone(), gradients.clone()))
    indices = torch.tensor([[1, 1, 39], [6, 0, 6], [24, 2, 2]])
    weights = torch.randn(3, 3, 8)
    versions = [table._version for table in one.parameters()]
    (one(indices, None) * weights).sum().backward()
    ((rows, gradients),) = seen
    assert rows.tolist() == [1, 46, 71, 1, 40, 49, 39, 46, 49]  # Sample by sample, in tables of 40, 7 and 25 rows.
    assert torch.equal(gradients, weights.view(9, 8))
    assert all(table.grad is None for table in one.parameters())
    assert all(table._version > old for table, old in zip(one.parameters(), versions, strict=True))


def test_without_an_update_tables_get_their_gradients() -> None:
    one, batch = bags(), tiny.batches(1, 5)[0]
    one(batch.indices, None).sum().backward()
    assert all(table.grad is not None and table.grad.is_sparse for table in one.parameters())


@pytest.mark.parametrize("wrong", [-1, 7])
def test_an_index_outside_its_table_is_no_row_of_the_next_one(wrong: int) -> None:
    indices = torch.tensor([[1, 2], [0, wrong], [3, 3]])
    with torch.no_grad(), pytest.raises(RuntimeError, match="an index is outside its table"):
        bags()(indices, None)


def test_indices_of_another_number_of_tables_are_refused() -> None:
    with torch.no_grad(), pytest.raises(ShapeError, match=r"3 tables need indices of shape \[T, B\], got \[2, 4\]"):
        bags()(torch.zeros(2, 4, dtype=torch.int64), None)


def test_views_of_the_storage_are_saved_each_by_itself(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "a.ckpt", {"state": dict(bags().state_dict())})
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)["state"]
    for name, table in bags(fused=False).state_dict().items():
        assert torch.equal(loaded[name], table)
    assert (tmp_path / "a.ckpt").stat().st_size < 2 * 4 * 8 * sum(SIZES) + 8192
