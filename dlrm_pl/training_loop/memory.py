"""Memory needed for training, reported and checked before it starts."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.memory import available_bytes, require_memory
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.safeguards.memory_needed import TrainingMemory

log = logging.getLogger(__name__)


def check_memory(trainer: pl.Trainer, model: pl.LightningModule, datamodule: Any, ckpt_path: str | None) -> None:
    """Report how much memory training will need, and check that it is available.

    Args:
        trainer: Trainer that will train.
        model: module; without a checkpoint, its tables are already in memory.
        datamodule: data module, which knows the batch size, or None.
        ckpt_path: file of the checkpoint that training continues from, which is memory-mapped.

    Raises:
        ConfigurationError: there is too little memory.
    """
    if not isinstance(model, DLRMModule):
        return  # A user's own module, about which nothing is known.
    batch_size = getattr(datamodule, "batch_size", 0)
    accumulated = trainer.accumulate_grad_batches
    memory = TrainingMemory.of(
        model.architecture, model.optimizers_chosen, batch_size=batch_size, accumulated=accumulated
    )
    log.info("memory needed for training: %s; %s are available", memory, format_bytes(available_bytes()))
    if trainer.strategy.root_device.type != "cpu":
        return
    if ckpt_path is not None:
        mapped = memory.tables + memory.state
        log.info(
            "tables and optimizer state (%s) stay memory-mapped from %s. Training copies every 4 KiB page that it "
            "touches, so memory may grow by up to that much. Saving a checkpoint needs the same amount of disk space",
            format_bytes(mapped),
            ckpt_path,
        )
    more = memory.mlps + memory.batch + (memory.state if ckpt_path is None else 0)
    require_memory(
        more,
        "The optimizer's state and the batches" if memory.state else "The batches",
        "Give a smaller --data.batch_size, or a --model.optimizer with less state (sgd has "
        f"none){', or accumulate fewer batches' if accumulated > 1 else ''}.",
    )
