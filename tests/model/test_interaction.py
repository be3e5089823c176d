"""Order and values of the interaction, compared with explicit loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import ShapeError
from dlrm_pl.model.interaction import cat_interaction, dot_interaction
from tests.reference import dlrm as reference
from tests.support.examples import examples


@settings(deadline=None, max_examples=examples(40))
@given(b=st.integers(0, 4), t=st.integers(0, 6), d=st.integers(1, 8), itself=st.booleans(), seed=st.integers(0, 2**16))
def test_interactions_equal_explicit_loops(b: int, t: int, d: int, itself: bool, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    dense = torch.randn(b, d, generator=rng, dtype=torch.float64)
    sparse = torch.randn(b, t, d, generator=rng, dtype=torch.float64)
    dot = reference.interaction_by_loops(dense.numpy(), sparse.numpy(), itself)
    torch.testing.assert_close(dot_interaction(dense, sparse, itself), torch.from_numpy(dot))
    cat = reference.concatenation_by_loops(dense.numpy(), sparse.numpy())
    torch.testing.assert_close(cat_interaction(dense, sparse), torch.from_numpy(cat))


@pytest.mark.parametrize(
    ("itself", "pairs"),
    [
        (False, [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]),
        (True, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (3, 3)]),
    ],
)
def test_pair_order_is_pinned(itself: bool, pairs: list[tuple[int, int]]) -> None:
    """Another order has the same shapes, loads without an error and gives a wrong AUROC."""
    primes = [2.0, 3.0, 5.0, 7.0]  # Every product identifies its two factors.
    dense, sparse = torch.tensor([primes[:1]]), torch.tensor([[[p] for p in primes[1:]]])
    expected = [primes[0], *(primes[i] * primes[j] for i, j in pairs)]
    assert dot_interaction(dense, sparse, itself).tolist() == [expected]


def test_positions_made_in_inference_mode_serve_training() -> None:
    dense, sparse = torch.randn(2, 3, requires_grad=True), torch.randn(2, 11, 3)
    with torch.inference_mode():
        dot_interaction(dense, sparse)
    dot_interaction(dense, sparse).sum().backward()
    assert dense.grad is not None


@pytest.mark.parametrize("interact", [dot_interaction, cat_interaction])
@pytest.mark.parametrize(("dense", "sparse"), [((2, 3), (2, 4, 5)), ((2, 3), (1, 4, 3)), ((2, 3, 1), (2, 4, 3))])
def test_disagreeing_shapes_are_rejected(interact: object, dense: tuple[int, ...], sparse: tuple[int, ...]) -> None:
    assert callable(interact)
    with pytest.raises(ShapeError, match=rf"got \[{dense[0]}, {dense[1]}.*\[{sparse[0]}, 4, {sparse[2]}\]"):
        interact(torch.zeros(dense), torch.zeros(sparse))
