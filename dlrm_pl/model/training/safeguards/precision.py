"""Precisions that a model cannot be trained in."""

from __future__ import annotations

from dlrm_pl.errors import ConfigurationError

_HALF = {"bf16-true": "bfloat16, with 8 significant bits", "16-true": "float16, with 11 significant bits"}


def check_precision(precision: str) -> None:
    """Refuse to train with weights in half precision.

    Raises:
        ConfigurationError: the Trainer's precision is ``bf16-true`` or ``16-true``.
    """
    if precision in _HALF:
        raise ConfigurationError(
            f"trainer.precision={precision} would keep the tables and all weights in {_HALF[precision]}: an SGD step "
            "that is smaller than half a unit in the last place of a weight is rounded away, so the model would "
            "silently stop learning. Use trainer.precision=bf16-mixed, which computes in half precision and keeps "
            "the weights in float32."
        )
