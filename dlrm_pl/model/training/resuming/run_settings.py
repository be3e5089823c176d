"""Settings of a Trainer, a data module and a module that determine how training continues."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.callbacks import GradientAccumulationScheduler


def accumulation_scheduler(trainer: Any) -> GradientAccumulationScheduler | None:
    """Return the callback that sets the number of accumulated batches by epoch, if there is one."""
    found = (callback for callback in trainer.callbacks if isinstance(callback, GradientAccumulationScheduler))
    return next(found, None)


def run_settings(trainer: Any, engine: str | None = None) -> dict[str, Any]:
    """Collect the settings that a resumed run must share with the previous one, as plain values.

    Args:
        trainer: Lightning's Trainer; its data module may have a dict ``training_settings``.
        engine: engine that computes the steps; None until it is chosen.
    """
    scheduler = accumulation_scheduler(trainer)
    data = getattr(trainer.datamodule, "training_settings", {})
    settings = {f"data.{name}": value for name, value in data.items()} | {
        "trainer.accumulate_grad_batches": (
            trainer.accumulate_grad_batches if scheduler is None else dict(scheduler.scheduling)
        ),
        "trainer.precision": str(trainer.precision),
        "trainer.gradient_clip_val": trainer.gradient_clip_val or None,
        "trainer.gradient_clip_algorithm": _clips_by(trainer),
        "trainer.devices": trainer.world_size,
    }
    return settings if engine is None else settings | {"model.engine": engine}


def _clips_by(trainer: Any) -> str | None:
    if not trainer.gradient_clip_val:
        return None
    return str(getattr(trainer.gradient_clip_algorithm, "value", trainer.gradient_clip_algorithm) or "norm")
