"""A training that diverges stops, and says where the values went wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dlrm_pl.errors import NonFiniteError
from dlrm_pl.model.training.safeguards.divergence import divergence, largest_loss
from tests.support.tiny import as_multi_hot
from tests.support.training import loader, make_batches, make_module, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    ("loss", "weights", "diverged"),
    [
        (0.7, (1.0, 1.0), False),
        (300.0, (1.0, 1.0), False),
        (9.9e3, (1.0, 1.0), False),
        (1.1e4, (1.0, 1.0), True),
        (1.1e4, (1.0, 30.0), False),
        (3.1e5, (1.0, 30.0), True),
        (1.1e4, (0.1, 0.2), True),
        (math.nan, (1.0, 1.0), True),
        (math.inf, (1.0, 1.0), True),
    ],
)
def test_loss_that_is_too_large(loss: float, weights: tuple[float, float], diverged: bool) -> None:
    assert (not loss <= largest_loss("wbce", weights)) is diverged


def test_weights_of_classes_count_in_the_loss_that_has_them() -> None:
    assert largest_loss("bce", (1.0, 30.0)) == largest_loss("mse", (2.0, 3.0)) == largest_loss("wbce", (1.0, 1.0))


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (["embedding_bags.tables.2.weight", "top_mlp.0.bias"], "row 5 of model.embedding_bags.tables.2.weight is not"),
        (["top_mlp.0.weight"], "model.top_mlp.0.weight is not finite"),
        (["bottom_mlp.2.bias", "embedding_bags.tables.2.weight"], "model.bottom_mlp.2.bias is not finite"),
    ],
)
def test_first_bad_tensor_is_named(bad: list[str], words: str, multi_hot: bool) -> None:
    module, batch = make_module(), make_batches(1)[0]
    batch.indices[2, 3] = 5
    with torch.no_grad():
        for name in bad:
            weight = module.model.get_parameter(name)
            weight[5 if "tables" in name else 0] = math.nan
    error = divergence(module.model, as_multi_hot(batch) if multi_hot else batch, math.nan, step=1234, rate=0.5)
    assert str(error).startswith(f"The loss is NaN at step 1,234, with a learning rate of 0.5: {words}")


def test_row_that_no_sample_looks_up_is_not_the_cause() -> None:
    module, batch = make_module(), make_batches(1)[0]
    batch.indices[2] = 0
    module.model.get_parameter("embedding_bags.tables.2.weight").data[5] = math.nan
    module.model.get_parameter("top_mlp.0.weight").data[0, 0] = 1e30
    text = str(divergence(module.model, batch, math.inf, step=0, rate=0.5))
    assert "all weights are finite, and the largest, 1e+30, is in model.top_mlp.0.weight" in text


@pytest.mark.parametrize("options", [{"learning_rate": 1e4}, {"learning_rate": 1e6, "optimizer": "adagrad"}])
def test_learning_rate_that_is_far_too_high_stops_training(options: dict[str, Any]) -> None:
    batches = make_batches(30)
    with pytest.raises(NonFiniteError, match=r"The loss is .* at step \d+, with .*Earlier checkpoints are intact"):
        make_trainer().fit(make_module(**options), loader(batches))
