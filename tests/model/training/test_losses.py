"""The three losses, compared with the reference's formulas on probabilities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.model.training.losses import click_loss
from tests.support.examples import examples


@settings(deadline=None, max_examples=examples(60))
@given(
    values=st.lists(st.tuples(st.floats(-15, 15), st.booleans()), min_size=1, max_size=8),
    weights=st.tuples(st.floats(0, 5), st.floats(0, 5)),
)
def test_losses_equal_the_references_formulas(values: list[tuple[float, bool]], weights: tuple[float, float]) -> None:
    logits, labels = (np.array(column, dtype=np.float64) for column in zip(*values, strict=True))
    p = 1 / (1 + np.exp(-logits))
    entropy = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    of_class = np.where(labels == 1, weights[1], weights[0])
    expected = {
        "bce": entropy.mean(),
        "wbce": (of_class * entropy).mean(),  # Divided by B, not by the sum of the weights.
        "mse": ((p - labels) ** 2).mean(),
    }
    for kind, value in expected.items():
        found = click_loss(torch.from_numpy(logits), torch.from_numpy(labels), kind, weights)  # type: ignore[arg-type]
        # 1 - p loses digits near 1: at a logit of 15, 1e-16 of 3e-7.
        assert found.item() == pytest.approx(value, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("kind", ["bce", "wbce"])
def test_cross_entropy_of_extreme_logits_keeps_its_gradient(kind: str) -> None:
    """From 17 on, a float32 sigmoid is 1, so BCELoss of probabilities gives 100 and no gradient."""
    logits = torch.tensor([60.0], requires_grad=True)
    loss = click_loss(logits, torch.tensor([0.0]), kind)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 60
    assert logits.grad is not None
    assert logits.grad.item() == 1
