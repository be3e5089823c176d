"""Incompatible optimizers, and numbers that an optimizer ignores, are refused."""

from typing import Any

import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "adam"}, "optimizer='adam' is for the MLPs only.*Give dense_optimizer='adam'"),
        ({"optimizer": "lamb"}, "optimizer='lamb' is for the MLPs "),
        ({"optimizer": "ftrl"}, "optimizer='ftrl' must be one of 'sgd', 'adagrad', 'rwsadagrad'"),
        ({"dense_optimizer": "rwsadagrad"}, "for the tables only.*Give dense_optimizer='adagrad'"),
        ({"dense_optimizer": "ftrl"}, "dense_optimizer='ftrl' must be"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
        ({"dense_learning_rate": float("nan")}, "dense_learning_rate=nan must be above 0"),
        ({"optimizer": "adagrad", "epsilon": -1e-8}, "epsilon=-1e-08 must be 0 or more"),
        ({"epsilon": 1e-8}, "epsilon=1e-08 applies to Adagrad, but the tables' optimizer is sgd"),
        (
            {"dense_epsilon": 1e-8},
            "dense_epsilon=1e-08 applies to adagrad, adam and lamb, but the MLPs' optimizer is sgd",
        ),
        ({"dense_optimizer": "adam", "dense_epsilon": float("inf")}, "dense_epsilon=inf"),
        ({"dense_optimizer": "adam", "dense_betas": (0.9, 1.0)}, r"dense_betas=\[0.9, 1.0\] must be two numbers"),
        ({"dense_optimizer": "adam", "dense_betas": (0.9,)}, r"dense_betas=\[0.9\] must be two numbers"),
        ({"dense_betas": (0.8, 0.9)}, r"dense_betas=\[0.8, 0.9\] applies to adam and lamb.*the MLPs' optimizer is sgd"),
        ({"optimizer": "rwsadagrad", "dense_weight_decay": 0.1}, "dense_weight_decay=0.1 applies to adam.*is adagrad"),
        ({"dense_optimizer": "lamb", "dense_weight_decay": -0.1}, "dense_weight_decay=-0.1 must be 0 or more"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OptimizerSettings(**values)


def test_the_mlps_follow_the_tables_unless_they_are_told() -> None:
    assert OptimizerSettings("rwsadagrad", epsilon=1e-4, learning_rate=0.3).dense_rule == "adagrad"
    followed = OptimizerSettings("rwsadagrad", epsilon=1e-4, learning_rate=0.3)
    assert (followed.mlp_epsilon, followed.mlp_learning_rate) == (1e-4, 0.3)
    told = OptimizerSettings("rwsadagrad", epsilon=1e-4, dense_optimizer="adam", dense_learning_rate=0.001)
    assert (told.mlp_epsilon, told.mlp_learning_rate, told.table_epsilon) == (1e-8, 0.001, 1e-4)
