"""The trained module with whole tables, on the first process, for work that it does alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from dlrm_pl.distributed.checkpoints.places import remove
from dlrm_pl.distributed.together import on_first, raise_failures
from dlrm_pl.errors import DLRMError
from dlrm_pl.model.load import load_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule

_PATIENCE = timedelta(days=30)


@contextmanager
def whole_module(module: DLRMModule, path: Path) -> Iterator[DLRMModule | None]:
    """Give the first process a module with whole, memory-mapped tables, while the others wait.

    Args:
        module: module whose tables are sharded, attached to its Trainer.
        path: checkpoint that holds the weights meanwhile, on a file system that all processes share.

    Yields:
        The module; None on the other processes.

    Raises:
        DLRMError: the first process raised it meanwhile; all processes raise it.
    """
    module.trainer.save_checkpoint(path, weights_only=True)
    # The others wait in a separate group, however long the first process works: the training's timeout is for steps.
    waiting = dist.new_group(timeout=_PATIENCE, backend="gloo")
    error: DLRMError | None = None
    try:
        yield load_checkpoint(path) if dist.get_rank() == 0 else None
    except DLRMError as raised:
        error = raised
    ended = [error]
    dist.broadcast_object_list(ended, src=0, group=waiting)
    dist.destroy_process_group(waiting)
    on_first(lambda: remove(path))
    if ended[0] is not None:
        raise_failures({0: ended[0]})
