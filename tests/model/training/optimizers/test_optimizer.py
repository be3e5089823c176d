"""The optimizers compared with formulas in float64 and with torch's own classes."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dlrm_pl.model.training.optimizers.make import make_optimizer
from dlrm_pl.model.training.optimizers.optimizer import DLRMOptimizer
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from tests.reference import optimizers as reference
from tests.support.examples import examples
from tests.support.training import make_module

# The default, stated explicitly: otherwise torch's own classes warn once per process.
torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]


def sparse_rows(rows: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.sparse_coo_tensor(rows[None], values, (size, values.shape[1]), check_invariants=False)


def train(
    chosen: OptimizerSettings, weight: Tensor, table: Tensor, gradients: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor, DLRMOptimizer]:
    """Step through gradients of one MLP weight and one table."""
    dense, rows = nn.Parameter(weight.clone()), nn.Parameter(table.clone())
    optimizer = DLRMOptimizer([dense], [rows], chosen)
    for dense.grad, rows.grad in gradients:
        optimizer.step()
    return dense.detach(), rows.detach(), optimizer


DENSE: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adagrad": {"dense_epsilon": 1e-3},
    "adam": {"dense_betas": (0.8, 0.95), "dense_weight_decay": 0.02},
    "lamb": {"dense_betas": (0.8, 0.95), "dense_weight_decay": 0.02, "dense_epsilon": 1e-3},
}


@pytest.mark.each_value
@pytest.mark.parametrize("table_rule", ["sgd", "adagrad", "rwsadagrad"])
@pytest.mark.parametrize("dense_rule", DENSE)
@settings(deadline=None, max_examples=examples(15))
@given(seed=st.integers(0, 2**16), steps=st.integers(1, 5), lookups=st.integers(0, 9))
def test_steps_equal_the_formulas(dense_rule: Any, table_rule: Any, seed: int, steps: int, lookups: int) -> None:
    """Only the rows of a table that occur in a batch change, and a row that occurs several times changes once."""
    chosen = OptimizerSettings(
        optimizer=table_rule,
        learning_rate=0.3,
        dense_optimizer=dense_rule,
        dense_learning_rate=0.07,
        epsilon=None if table_rule == "sgd" else 1e-4,
        **DENSE[dense_rule],
    )
    make = torch.Generator().manual_seed(seed)
    weight, table = (torch.randn(*shape, generator=make, dtype=torch.float64) for shape in ((3, 2), (6, 4)))
    gradients = []
    for _ in range(steps):
        rows = torch.randint(0, 6, (lookups,), generator=make)
        values = torch.randn(lookups, 4, generator=make, dtype=torch.float64)
        of_weight = torch.randn(3, 2, generator=make, dtype=torch.float64)
        gradients.append((of_weight, sparse_rows(rows, values, 6)))
    dense, found, _ = train(chosen, weight, table, gradients)
    of_weights = [gradient.numpy() for gradient, _ in gradients]
    of_tables = [gradient.to_dense().numpy() for _, gradient in gradients]
    betas = chosen.dense_betas[0], chosen.dense_betas[1]
    expected = {
        "sgd": lambda: reference.sgd(weight.numpy(), of_weights, 0.07),
        "adagrad": lambda: reference.adagrad(weight.numpy(), of_weights, 0.07, 1e-3),
        "adam": lambda: reference.adam(weight.numpy(), of_weights, 0.07, 1e-8, betas, 0.02),
        "lamb": lambda: reference.adam(weight.numpy(), of_weights, 0.07, 1e-3, betas, 0.02, layerwise=True),
    }[dense_rule]()
    np.testing.assert_allclose(dense.numpy(), expected, rtol=1e-9, atol=1e-12)
    rows_expected = {
        "sgd": lambda: reference.sgd(table.numpy(), of_tables, 0.3),
        "adagrad": lambda: reference.adagrad(table.numpy(), of_tables, 0.3, 1e-4),
        "rwsadagrad": lambda: reference.rowwise_adagrad(table.numpy(), of_tables, 0.3, 1e-4),
    }[table_rule]()
    np.testing.assert_allclose(found.numpy(), rows_expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "options", "own"),
    [
        ("sgd", {}, lambda weights: torch.optim.SGD(weights, lr=0.07)),
        ("adagrad", {}, lambda weights: torch.optim.Adagrad(weights, lr=0.07)),
        ("adam", {}, lambda weights: torch.optim.Adam(weights, lr=0.07)),
        (
            "adam",
            {"dense_betas": (0.8, 0.95), "dense_weight_decay": 0.02},
            lambda weights: torch.optim.AdamW(weights, lr=0.07, betas=(0.8, 0.95), weight_decay=0.02),
        ),
    ],
)
def test_dense_steps_have_the_bits_of_torchs_optimizer(rule: Any, options: dict[str, Any], own: Any) -> None:
    chosen = OptimizerSettings(dense_optimizer=rule, dense_learning_rate=0.07, **options)
    gradients = [(torch.randn(7, 5), sparse_rows(torch.tensor([0]), torch.randn(1, 4), 6)) for _ in range(6)]
    weight = torch.randn(7, 5)
    found, _, optimizer = train(chosen, weight, torch.randn(6, 4), gradients)
    expected = nn.Parameter(weight.clone())
    theirs = own([expected])
    for expected.grad, _ in gradients:
        theirs.step()
    assert torch.equal(found, expected)
    # The state has torch's names too, so that either can read the other's.
    (state,) = (optimizer.state[p] for p in optimizer.param_groups[0]["params"])
    assert set(state) == set(theirs.state[expected])


def test_rowwise_adagrad_takes_dense_gradients_too() -> None:
    chosen = OptimizerSettings("rwsadagrad", learning_rate=0.3)
    gradients = [torch.randn(6, 4, dtype=torch.float64) for _ in range(3)]
    table, weight = torch.randn(6, 4, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    all_rows = [(torch.zeros_like(weight), sparse_rows(torch.arange(6), values, 6)) for values in gradients]
    _, sparse, _ = train(chosen, weight, table, all_rows)
    _, dense, _ = train(chosen, weight, table, [(torch.zeros_like(weight), values) for values in gradients])
    torch.testing.assert_close(sparse, dense, rtol=1e-12, atol=0)


def test_the_state_of_rowwise_adagrad_is_a_number_for_each_row() -> None:
    _, _, optimizer = train(OptimizerSettings("rwsadagrad"), torch.zeros(2), torch.zeros(6, 4), [])
    (table,) = optimizer.param_groups[1]["params"]
    assert optimizer.state[table]["sum"].shape == (6,)
    assert OptimizerSettings("rwsadagrad").table_state_bytes(6, 4) == 24
    assert OptimizerSettings("adagrad").table_state_bytes(6, 4) == 96
    assert OptimizerSettings("sgd").table_state_bytes(6, 4) == 0


def test_lamb_leaves_a_tensor_of_zeros_unscaled() -> None:
    """Its trust ratio would be 0, so it would never learn."""
    chosen = OptimizerSettings(dense_optimizer="lamb", dense_learning_rate=0.1)
    gradient = (torch.ones(2), sparse_rows(torch.tensor([0]), torch.zeros(1, 4), 6))
    found, _, _ = train(chosen, torch.zeros(2), torch.zeros(6, 4), [gradient])
    torch.testing.assert_close(found, torch.full((2,), -0.1), rtol=1e-5, atol=0)


def test_parameters_without_a_gradient_are_left_alone() -> None:
    chosen = OptimizerSettings("rwsadagrad", dense_optimizer="adam")
    dense, rows, optimizer = train(chosen, torch.ones(2), torch.ones(6, 4), [(None, None)])  # type: ignore[list-item]
    assert dense.eq(1).all()
    assert rows.eq(1).all()
    assert all(state["step"] == 0 for state in optimizer.state.values())


def test_a_step_with_a_closure_returns_its_loss() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = DLRMOptimizer([weight], [nn.Parameter(torch.ones(2, 2))], OptimizerSettings(learning_rate=0.5))

    def closure() -> float:
        loss = weight.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == 2.0
    assert weight.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("chosen", "kind"),
    [
        (OptimizerSettings("sgd"), torch.optim.SGD),
        (OptimizerSettings("adagrad", epsilon=1e-4), torch.optim.Adagrad),
        (OptimizerSettings("rwsadagrad"), DLRMOptimizer),
        (OptimizerSettings("sgd", dense_optimizer="sgd"), DLRMOptimizer),
        (OptimizerSettings("sgd", dense_learning_rate=0.2), DLRMOptimizer),
    ],
)
def test_one_optimizer_for_all_weights_is_torchs_with_one_group(chosen: OptimizerSettings, kind: Any) -> None:
    """This lets checkpoints of earlier versions resume."""
    model = make_module().model
    optimizer = make_optimizer(model, chosen)
    assert type(optimizer) is kind
    parts = [[p for p in group["params"]] for group in optimizer.param_groups]
    count = {p: sum(q is p for part in parts for q in part) for p in model.parameters()}
    assert set(count.values()) == {1}
    if kind is DLRMOptimizer:
        assert [group["name"] for group in optimizer.param_groups] == ["dense", "tables"]
        assert set(map(id, parts[1])) == set(map(id, model.embedding_bags.parameters()))
    else:
        assert len(parts) == 1
