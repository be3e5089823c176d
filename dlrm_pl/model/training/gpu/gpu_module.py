"""Behaviour of a click model when Lightning trains it on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.gpu.fused_step import FusedStep, check_room, keep_on_host, obstacle
from dlrm_pl.model.training.gpu.graph import Capture, cuda_graph
from dlrm_pl.model.training.sharding import ShardsTables
from dlrm_pl.model.training.trained_module import TrainedModule

log = logging.getLogger(__name__)

TablePlace = Literal["device", "host"]
"""Location of the tables while a model is trained or scored on a GPU."""


class GPUModule(TrainedModule):
    """The part of ``DLRMModule`` that trains on a GPU; on a CPU it does nothing.

    Attributes:
        graphed_forward: forward pass for training with the dense part as a CUDA graph; None without one.
    """

    graphed_forward: Callable[[ClickBatch], Tensor] | None = None
    _step: FusedStep | None = None

    def setup(self, stage: str) -> None:
        """Prepare the tables before Lightning moves the model to a GPU.

        Raises:
            ConfigurationError: the tables do not fit on the GPU; or they are set to stay on the host, but this training
                needs them on the device.
        """
        self._stop()
        device = self.trainer.strategy.root_device
        if not self._is_gpu(device) or isinstance(self.trainer.strategy, ShardsTables):
            return
        on_host = self.hparams["tables_on"] == "host"
        if stage != "fit":
            if on_host:
                keep_on_host(self.model)
            return
        if reason := obstacle(self, self.trainer):
            if on_host:
                raise ConfigurationError(
                    "model.tables_on=host: tables on the host are trained by updates in place, which is not possible "
                    f"because {reason}. Change that, or set model.tables_on to device."
                )
            log.info("tables: torch's sparse gradients on %s, because %s", device, reason)
            return
        rule = self.optimizers_chosen.optimizer
        if not on_host:
            check_room(self.model, rule, device)
        autocast = torch.bfloat16 if str(self.trainer.precision) == "bf16-mixed" else None
        self._step = FusedStep(self.model, rule, on_host=on_host, capture=self._capture(), autocast=autocast)
        log.info(
            "tables: %d in one storage on %s, with rows updated in place by %s; the dense part is replayed as a CUDA "
            "graph",
            self.model.architecture.num_tables,
            "the host" if on_host else device,
            rule,
        )

    def on_train_start(self) -> None:
        """Take over the table updates, now that the optimizer has its state."""
        super().on_train_start()
        if self._step is not None:
            self.graphed_forward = self._step.start(self.trainer.optimizers[0])

    def on_train_end(self) -> None:
        """Turn the tables back into ordinary parameters."""
        super().on_train_end()
        self._stop()

    def _stop(self) -> None:
        if self._step is not None:
            self._step.stop()
        self._step = self.graphed_forward = None

    def _is_gpu(self, device: torch.device) -> bool:
        return device.type == "cuda"

    def _capture(self) -> Capture:
        return cuda_graph
