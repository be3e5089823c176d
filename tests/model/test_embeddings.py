"""Lookups and pooling, one-hot and multi-hot."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ShapeError
from dlrm_pl.model.embeddings import EmbeddingBags
from tests.reference import dlrm as reference
from tests.support.examples import examples


def flat_bags(bags: list[list[list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn ``bags[t][b]`` into the indices and offsets of a ClickBatch."""
    in_order = [bag for table in bags for bag in table]
    lengths = [0, *(len(bag) for bag in in_order)]
    indices = torch.tensor([row for bag in in_order for row in bag], dtype=torch.int64)
    return indices, torch.tensor(lengths).cumsum(0)


@settings(deadline=None, max_examples=examples(40))
@given(data=st.data(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), b=st.integers(0, 4))
def test_bags_are_summed_and_empty_ones_give_zeros(data: st.DataObject, sizes: list[int], b: int) -> None:
    bags = [[data.draw(st.lists(st.integers(0, rows - 1), max_size=3)) for _ in range(b)] for rows in sizes]
    module = EmbeddingBags(sizes, 3).double()
    expected = reference.pooled_by_loops([table.detach().numpy() for table in module.parameters()], bags)
    found = module(*flat_bags(bags))
    assert found.shape == (b, len(sizes), 3)
    torch.testing.assert_close(found.detach(), torch.from_numpy(expected))


@settings(deadline=None, max_examples=examples(20))
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), b=st.integers(0, 5), seed=st.integers(0, 99))
def test_one_hot_equals_bags_of_one(sizes: list[int], b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    module = EmbeddingBags(sizes, 2)
    indices = torch.from_numpy(np.stack([rng.integers(0, rows, b) for rows in sizes]))
    offsets = torch.arange(len(sizes) * b + 1)
    assert torch.equal(module(indices, None), module(indices.flatten(), offsets))


@pytest.mark.parametrize("is_mean", [(), (True, True)])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_sparse_gradients_equal_dense_ones(multi_hot: bool, is_mean: tuple[bool, ...]) -> None:
    torch.manual_seed(0)
    module = EmbeddingBags([4, 3], 2, is_mean)
    indices = torch.tensor([[1, 1, 3], [0, 2, 2]])  # Repeated rows, whose gradients are summed.
    upstream = torch.randn(3, 2, 2)
    found = module(indices.flatten(), torch.arange(7)) if multi_hot else module(indices, None)
    (found * upstream).sum().backward()
    for t, table in enumerate(module.parameters()):
        expected = torch.zeros_like(table)
        for b, row in enumerate(indices[t]):
            expected[row] += upstream[b, t]
        assert table.grad is not None
        assert table.grad.is_sparse
        torch.testing.assert_close(table.grad.to_dense(), expected)


def test_the_gradient_of_a_mean_is_shared_by_its_rows() -> None:
    module = EmbeddingBags([4], 2, [True])
    module(torch.tensor([1, 1, 3]), torch.tensor([0, 3, 3])).sum().backward()
    (table,) = module.parameters()
    assert table.grad is not None
    torch.testing.assert_close(table.grad.to_dense()[:, 0], torch.tensor([0.0, 2 / 3, 0.0, 1 / 3]))


def test_initial_values_are_uniform_within_the_references_bound() -> None:
    torch.manual_seed(1)
    (table,) = EmbeddingBags([400], 64).weights()
    bound = 400**-0.5
    assert table.abs().max() <= bound
    # For 25600 uniform values, the largest is within 0.1 % of the bound, the standard deviation within 2 %.
    assert table.abs().max() > 0.999 * bound
    assert table.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_weights_share_memory_with_the_tables() -> None:
    module = EmbeddingBags([4], 2)
    assert module.weights()[0].data_ptr() == module.tables[0].weight.data_ptr()


@pytest.mark.parametrize(
    ("indices", "offsets", "message"),
    [
        (torch.zeros(3, 5, dtype=torch.int64), None, r"2 tables need indices of shape \[T, B\], got \[3, 5\]"),
        (torch.zeros(5, dtype=torch.int64), None, r"got \[5\]"),
        (torch.zeros(5, dtype=torch.int64), torch.zeros(6, dtype=torch.int64), "6 offsets do not fit 2 tables"),
        (torch.zeros(5, dtype=torch.int64), torch.tensor([0, 1, 2, 3, 4]), r"0 to 4 do not fit indices of shape \[5\]"),
        (torch.zeros(5, dtype=torch.int64), torch.tensor([1, 2, 5]), r"1 to 5 do not fit indices of shape \[5\]"),
        (torch.zeros(5, dtype=torch.int64), torch.tensor([0]), r"0 to 0 do not fit indices of shape \[5\]"),
    ],
)
def test_indices_for_other_tables_are_rejected(
    indices: torch.Tensor, offsets: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        EmbeddingBags([2, 2], 3)(indices, offsets)


def test_no_offsets_at_all_are_rejected() -> None:
    with pytest.raises(ShapeError, match="0 offsets do not fit 1 tables"):
        EmbeddingBags([2], 3)(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def test_nonfinite_values_are_read_as_zero_when_allowed() -> None:
    damaged, clean = EmbeddingBags((6, 4), 3), EmbeddingBags((6, 4), 3)
    clean.load_state_dict(damaged.state_dict())
    damaged.weights()[0][2, 1], damaged.weights()[1][0] = float("nan"), float("inf")
    clean.weights()[0][2, 1], clean.weights()[1][0] = 0.0, 0.0
    damaged.nonfinite_as_zero = True
    one_hot = torch.tensor([[2, 5, 0], [0, 3, 0]])
    assert torch.equal(damaged(one_hot, None), clean(one_hot, None))
    indices, offsets = torch.tensor([2, 2, 5, 0, 3, 0]), torch.tensor([0, 2, 2, 3, 4, 6, 6])
    assert torch.equal(damaged(indices, offsets), clean(indices, offsets))


@settings(deadline=None, max_examples=examples(40))
@given(data=st.data(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), b=st.integers(0, 4))
def test_tables_that_average_divide_by_the_length_of_each_bag(data: st.DataObject, sizes: list[int], b: int) -> None:
    is_mean = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    bags = [[data.draw(st.lists(st.integers(0, rows - 1), max_size=3)) for _ in range(b)] for rows in sizes]
    module = EmbeddingBags(sizes, 3, is_mean).double()
    expected = reference.pooled_by_loops([table.detach().numpy() for table in module.parameters()], bags)
    lengths = np.array(
        [[max(1, len(bag)) if mean else 1 for bag in table] for table, mean in zip(bags, is_mean, strict=True)]
    )
    found = module(*flat_bags(bags))
    torch.testing.assert_close(found.detach(), torch.from_numpy(expected / lengths.T.reshape(b, len(sizes), 1)))
    module.nonfinite_as_zero = True
    assert torch.equal(module(*flat_bags(bags)), found)
