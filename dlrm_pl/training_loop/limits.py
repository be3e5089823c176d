"""Training limits that leave nothing to train."""

from __future__ import annotations

import pytorch_lightning as pl


def why_nothing_was_trained(trainer: pl.Trainer) -> str:
    """Return why ``fit`` has trained nothing."""
    limits = {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
    if trainer.limit_train_batches == 0:
        limits = {"limit_train_batches": 0}
    given = " and ".join(f"{name}={value}" for name, value in limits.items() if value not in (None, -1))
    return (
        f"Nothing was trained: the limit is {given}, and the run is already at step {trainer.global_step:,}, after "
        f"{trainer.current_epoch:,} {'epoch' if trainer.current_epoch == 1 else 'epochs'}. Raise the limit to continue."
    )
