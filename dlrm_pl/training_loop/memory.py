"""Memory that a training takes."""

from __future__ import annotations

from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.model.training.lightning_module import DLRMModule


def memory_to_resume(model: DLRMModule, ckpt_path: str) -> str:
    """Say how much memory a resumed training takes."""
    rows, dim = sum(model.architecture.table_sizes), model.architecture.embedding_dim
    tables = 4 * rows * dim
    state = model.optimizers_chosen.table_state_bytes(rows, dim)
    adagrad = f", and the state of Adagrad takes {format_bytes(state)} more" if state else ""
    return (
        f"memory: the tables ({format_bytes(tables)}) stay memory-mapped from {ckpt_path}. Training copies every 4 KiB "
        f"page that it touches, so memory may grow by up to {format_bytes(tables)}{adagrad}. Saving a checkpoint needs "
        "as much disk space"
    )
