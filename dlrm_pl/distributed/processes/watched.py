"""Part of the sharded strategy that connects processes, and reports which one failed."""

from __future__ import annotations

import atexit
import itertools
import os
from typing import Any

import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy
from torch._C._distributed_c10d import PrefixStore, Store

from dlrm_pl.distributed.processes.children import watched_children
from dlrm_pl.distributed.processes.heartbeats import Heartbeats
from dlrm_pl.distributed.processes.store import connect, wait_for_all
from dlrm_pl.errors import DLRMError, ProcessError

_SIGNS = (
    *("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe", "Socket closed"),
    *("recv operation", "send operation", "Read error", "Write error", "Timed out", "timed out", "NCCL"),
)
"""Words in torch's errors which mean that another process did not take part."""

_ATTEMPTS = itertools.count()


class WatchedStrategy(DDPStrategy):
    """DDPStrategy whose processes know which of them are missing, have ended, or have failed."""

    _heartbeats: Heartbeats | None = None

    def setup_distributed(self) -> None:
        """Connect all processes.

        Raises:
            ConfigurationError: the port is in use.
            ProcessError: some processes did not start, or have ended; the message names them.
        """
        self.set_world_ranks()
        if self.world_size > 1:
            environment: Any = self.cluster_environment
            timeout_s = self._timeout.total_seconds() if self._timeout is not None else 600.0
            store = connect(
                environment.main_address, environment.main_port, self.global_rank, timeout_s, next(_ATTEMPTS)
            )
            children = getattr(self._launcher, "procs", [])
            with watched_children(children, self.global_rank + 1, store):
                names = wait_for_all(store, self.global_rank, self.world_size, timeout_s)
            self._heartbeats = Heartbeats(store, self.global_rank, names)
            if not dist.is_initialized():
                self._connect(PrefixStore("torch", store))
        super().setup_distributed()

    def _connect(self, store: Store) -> None:
        """Make torch's process group, as Lightning does, but through a store without leftovers of an earlier start."""
        backend = self._get_process_group_backend()
        device = None if self.root_device.type == "cpu" else self.root_device
        dist.init_process_group(
            backend,
            store=store,
            rank=self.global_rank,
            world_size=self.world_size,
            timeout=self._timeout,
            device_id=device,
        )
        if backend == "nccl":
            atexit.register(dist.destroy_process_group)

    def on_exception(self, exception: BaseException) -> None:
        """Tell the others why this process is failing, or find out which other one has failed.

        Raises:
            ProcessError: another process has ended, or does not respond; the message names it.
        """
        super().on_exception(exception)
        if self._heartbeats is None:
            return
        if isinstance(exception, DLRMError) or not any(sign in str(exception) for sign in _SIGNS):
            self._heartbeats.report(f"{type(exception).__name__}: {exception}".split("\n")[0])
            return
        lost = self._heartbeats.lost()
        self._heartbeats.stop()
        if not lost:
            return
        others = "; ".join(f"rank {rank} ({what})" for rank, what in sorted(lost.items()))
        again = (
            "torchrun restarts all of them if it has restarts left (--max-restarts)."
            if "TORCHELASTIC_RUN_ID" in os.environ
            else "To continue from the last checkpoint, give --ckpt_path."
        )
        raise ProcessError(
            f"rank {self.global_rank} stops: training needs all processes, but lost {others}. {again}"
        ) from exception

    def teardown(self) -> None:
        """Stop the heartbeats."""
        super().teardown()
        if self._heartbeats is not None:
            self._heartbeats.stop()
            self._heartbeats = None
