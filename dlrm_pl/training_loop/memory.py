"""Memory that a training takes."""

from __future__ import annotations

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.model.training.lightning_module import DLRMModule


def memory_to_resume(model: DLRMModule, ckpt_path: str) -> str:
    """Say how much memory a resumed training takes."""
    tables = 4 * sum(model.architecture.table_sizes) * model.architecture.embedding_dim
    adagrad = f", and the state of Adagrad takes {format_bytes(tables)} more" if _uses_adagrad(model) else ""
    return (
        f"memory: the tables ({format_bytes(tables)}) stay memory-mapped from {ckpt_path}. Training copies every 4 KiB "
        f"page that it touches, so memory may grow by up to {format_bytes(tables)}{adagrad}. Saving a checkpoint needs "
        "as much disk space"
    )


def _uses_adagrad(model: DLRMModule) -> bool:
    """Whether the optimizer keeps a value for each weight."""
    return bool(model.hparams["optimizer"] == "adagrad")
