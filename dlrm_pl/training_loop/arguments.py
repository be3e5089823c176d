"""Trainer arguments that Lightning would accept, only to fail or do nothing with them later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlrm_pl.errors import ConfigurationError

_SMALLEST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "max_epochs": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_sanity_val_steps": -1,
}
"""Smallest allowed values of arguments that Lightning does not check, or checks only when it uses them."""

_SHARDING = ("fsdp", "deepspeed", "modelparallel")


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:
    """Check Trainer arguments.

    Raises:
        ConfigurationError: a value is out of range, or a strategy cannot train a DLRM.
    """
    for name, smallest in _SMALLEST.items():
        if (value := arguments.get(name)) is not None and not value >= smallest:
            raise ConfigurationError(f"trainer.{name}={value} must be {smallest} or more.")
    if arguments.get("val_check_interval") == 0:
        raise ConfigurationError(
            "trainer.val_check_interval=0 must be above 0: a share of the epoch or a number of batches. To train "
            "without validation, set trainer.limit_val_batches=0."
        )
    strategy = arguments.get("strategy")
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name.lower().startswith(_SHARDING):
        raise ConfigurationError(
            f"trainer.strategy={name} shards weights and gradients between processes, which does not work with the "
            "tables' sparse gradients, on a GPU or without one. Use trainer.strategy=ddp, which trains a copy of the "
            "model in each process, or trainer.devices=1."
        )
