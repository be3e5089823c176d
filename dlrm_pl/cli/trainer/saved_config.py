"""Save the whole configuration of a training run next to its log."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.cli import SaveConfigCallback

from dlrm_pl.cli.trainer.fit_plan import OPTIONS as PLAN_OPTIONS
from dlrm_pl.files.atomic import atomic_file


class SaveConfigOfFit(SaveConfigCallback):
    """Save the whole configuration of a training run next to its log; other commands save none."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write ``config.yaml``, whole or not at all."""
        if stage != "fit":
            return
        folder = trainer.log_dir  # Read on every rank, because it is broadcast.
        assert folder is not None
        if trainer.is_global_zero:
            config = self.config.clone()
            for name in (
                "overwrite",
                "override",
                *PLAN_OPTIONS,
            ):  # Not part of the run; a later run must request these itself.
                config.pop(name)
            with atomic_file(Path(folder) / self.config_filename) as handle:
                handle.write(self.parser.dump(config))
