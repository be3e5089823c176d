"""Refuse what is not possible with tables that are spread over several processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.weighted_bags import WeightedBags


def check_supported(module: DLRMModule, device: torch.device) -> None:
    """Check a module before its tables are sharded.

    Args:
        module: module to train or to score with.
        device: device that will hold the parts of the tables.

    Raises:
        ConfigurationError: the tables cannot be sharded, or cannot be trained with the settings; the message names the
            setting.
    """
    bags = module.model.embedding_bags
    if isinstance(bags, WeightedBags):
        raise ConfigurationError(
            "model.weighted_pooling=learned cannot be used with trainer.strategy=sharded: TorchRec looks up sums of "
            "rows, not of rows multiplied by a trained weight. Set it to none or fixed, or train on one process."
        )
    if not isinstance(bags, EmbeddingBags):
        raise ConfigurationError(
            f"trainer.strategy=sharded shards the tables of EmbeddingBags, but the model has a {type(bags).__name__}."
        )
    if bags.trains_upper_halves:
        raise ConfigurationError(
            "model.table_format=split cannot be used with trainer.strategy=sharded: TorchRec reads whole values. Set "
            "it to fp32, or train on one process."
        )
    if module.hparams["tables_on"] == "host" and device.type != "cpu":
        raise ConfigurationError(
            "model.tables_on=host cannot be used with trainer.strategy=sharded, which puts each part of a table on "
            "its process's device. Set it to device, and use more devices if the memory is not enough."
        )
    limit = module.trainer.gradient_clip_val
    if module.trainer.training and limit:
        raise ConfigurationError(
            f"trainer.gradient_clip_val={limit} cannot be used with trainer.strategy=sharded: TorchRec changes the "
            "tables in the backward pass, before the norm of all gradients is known, so that only the gradients of the "
            "MLPs could be clipped. Leave it out and lower the learning rate, or lengthen its warm-up, or train on one "
            "process."
        )


def remark_on_shardings(module: DLRMModule, shardings: Iterable[str]) -> str:
    """Describe how training with these shardings differs from one process; "" if it does not."""
    if module.optimizers_chosen.optimizer == "rwsadagrad" and "column_wise" in shardings:
        return (
            "row-wise Adagrad on tables that are divided by columns: each part of a row has its own sum, so the "
            "weights depend on the number of parts and differ from those of one process"
        )
    return ""
