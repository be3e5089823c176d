"""Saving and loading in the sharded strategy: checkpoints are folders that all processes write together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.strategies import DDPStrategy

from dlrm_pl.distributed.checkpoints.load import load
from dlrm_pl.distributed.checkpoints.optimizer_states import load_states
from dlrm_pl.distributed.checkpoints.places import remove
from dlrm_pl.distributed.checkpoints.save import Saver
from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.distributed.together import on_first, together


class CheckpointedStrategy(DDPStrategy):
    """DDPStrategy whose checkpoints are written and read by all processes."""

    saving: Saver | None = None
    _failed = False

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint, see ``Saver.save``; it is a folder if the model's tables are sharded."""
        tables = self._sharded_tables()
        if tables is None:
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        self.saving = self.saving or Saver(self.global_rank, getattr(self.checkpoint_io, "asynchronous", False))
        optimizer = self.optimizers[0] if checkpoint.get("optimizer_states") else None
        self.saving.save(filepath, checkpoint, tables, optimizer)

    def remove_checkpoint(self, filepath: str | Path) -> None:
        """Remove a checkpoint once the one that replaces it is complete; called on all processes."""
        saving, path = self.saving, Path(filepath)
        on_first(lambda: remove(path) if saving is None else saving.after_writing(lambda: remove(path)))

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a checkpoint of any number of processes, see ``load``; URLs are left to Lightning."""
        if self.saving is not None:
            self.saving.finish()
        if "://" in str(checkpoint_path):
            return super().load_checkpoint(checkpoint_path, weights_only)
        return load(checkpoint_path, self.global_rank, self.world_size)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load the weights; a process that cannot read its part stops the others."""
        together(lambda: super(CheckpointedStrategy, self).load_model_state_dict(checkpoint, strict))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the state of the optimizers of MLPs and of tables."""
        tables = self._sharded_tables()
        if tables is None:
            super().load_optimizer_state_dict(checkpoint)
            return
        together(lambda: load_states(checkpoint["optimizer_states"][0], tables, self.optimizers[0]))

    def on_exception(self, exception: BaseException) -> None:
        """Note that some processes may not finish."""
        self._failed = True
        super().on_exception(exception)

    def teardown(self) -> None:
        """Wait for a checkpoint that is being written."""
        saving, failed = self.saving, self._failed
        self.saving, self._failed = None, False
        if saving is not None and failed:
            saving.abandon()
        elif saving is not None:
            saving.finish()
        super().teardown()

    def _sharded_tables(self) -> ShardedTables | None:
        """The model's tables, if they are sharded."""
        model = getattr(self.lightning_module, "model", None)
        tables = getattr(model, "embedding_bags", None)
        return tables if isinstance(tables, ShardedTables) else None
