"""Write predictions as they are made, so that they need not fit into memory."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from dlrm_pl.serving.output import PredictionsFile


class WritePredictions(pl.Callback):
    """Write the probabilities of each batch to an open file, in one process.

    Args:
        file: open file to write to.
    """

    def __init__(self, file: PredictionsFile) -> None:
        self._file = file

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the probabilities of a batch."""
        self._file.write(outputs.float().cpu().numpy())
