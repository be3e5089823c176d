"""Default search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RATES = (0.001, 3.0)
_DIMS = (8, 16, 32)
_BOTTOM = ((0, 64, 16), (0, 128, 64, 16), (0, 256, 128, 64, 16))
_TOP = ((64, 1), (128, 64, 1), (256, 128, 1))
_OPTIMIZERS = ("sgd", "adagrad", "rwsadagrad")
_DENSE_OPTIMIZERS = (None, "adam")
_ADAM_RATES = {"low": 0.0001, "high": 0.03, "log": True}


def default_space(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default space for a configuration, which includes the configuration's own values.

    Args:
        model: the configuration's model settings, by name.

    Example:
        >>> own = {"learning_rate": 5.0, "embedding_dim": 4, "bottom_mlp": [0, 8, 4], "top_mlp": [1]}
        >>> space = default_space(own | {"optimizer": "sgd", "dense_optimizer": None})
        >>> space["model.learning_rate"]
        {'low': 0.001, 'high': 5.0, 'log': True}
        >>> space["model.embedding_dim"]
        {'choices': [4, 8, 16, 32]}
    """
    rate = float(model["learning_rate"])
    rates = [min(_RATES[0], rate), max(_RATES[1], rate)] if rate > 0 else list(_RATES)
    own = list(model["bottom_mlp"])
    # Their last width is always that of the embeddings, so it is not compared.
    bottoms = [list(widths) for widths in _BOTTOM if list(widths[:-1]) != own[:-1]]
    return {
        "model.learning_rate": {"low": rates[0], "high": rates[1], "log": True},
        "model.optimizer": _around(model["optimizer"], _OPTIMIZERS),
        "model.dense_optimizer": _around(model["dense_optimizer"], _DENSE_OPTIMIZERS),
        # The size of Adam's steps is about its rate, so its rates suit no other optimizer.
        "model.dense_learning_rate": _ADAM_RATES | {"when": {"model.dense_optimizer": ["adam"]}},
        "model.embedding_dim": {"choices": sorted({int(model["embedding_dim"]), *_DIMS})},
        "model.bottom_mlp": {"choices": [own, *bottoms]},
        "model.top_mlp": _around(list(model["top_mlp"]), [list(widths) for widths in _TOP]),
    }


def _around(own: Any, others: Any) -> dict[str, Any]:
    return {"choices": [own, *(other for other in others if other != own)]}
