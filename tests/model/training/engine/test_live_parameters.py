"""Finding parameters without a walk through the modules."""

from __future__ import annotations

import torch
from torch import nn

from dlrm_pl.model.training.engine.live_parameters import LiveParameters


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2)))
        self.tables = nn.ModuleList([nn.EmbeddingBag(5, 2), nn.EmbeddingBag(4, 2)])
        self.top = nn.Sequential(nn.Linear(2, 1))


def assert_found(live: LiveParameters, *modules: nn.Module) -> None:
    expected = [parameter for module in modules for parameter in module.parameters()]
    assert [id(parameter) for parameter in live.now()] == [id(parameter) for parameter in expected]


def test_parameters_come_in_their_order_and_once() -> None:
    model = Model()
    model.top[0].weight = model.bottom[0].weight
    assert_found(LiveParameters(model, "bottom", "tables"), model.bottom, model.tables)
    both = LiveParameters(model, "bottom", "top").now()
    assert len(both) == len(set(map(id, both))) == 5


def test_parameters_and_parts_that_are_replaced_are_found() -> None:
    model = Model()
    live = LiveParameters(model, "bottom", "tables")
    model.tables[1].weight = nn.Parameter(torch.ones(4, 2))
    assert_found(live, model.bottom, model.tables)
    model.bottom[2][0] = nn.Linear(4, 2)
    assert_found(live, model.bottom, model.tables)
    model.tables = nn.ModuleList([nn.EmbeddingBag(7, 2)])
    assert_found(live, model.bottom, model.tables)
    model.bottom.append(nn.Linear(2, 2))
    assert_found(live, model.bottom, model.tables)
