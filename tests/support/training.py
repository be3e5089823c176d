"""Small modules, batches in memory and a trainer that prints nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.trainer import DLRMTrainer

SIZES = [6, 5, 9]


SMALL: dict[str, Any] = {
    "table_sizes": SIZES,
    "embedding_dim": 4,
    "bottom_mlp": [3, 8, 4],
    "top_mlp": [8, 1],
    "learning_rate": 0.2,
}


OPTIONS: dict[str, Any] = {"optimizer": "adagrad", "loss_threshold": 0.1, "dataset_fingerprint": "aa"}


def make_module(seed: int = 0, **changes: Any) -> DLRMModule:
    torch.manual_seed(seed)
    return DLRMModule(**(SMALL | changes))


def click_module(data: DLRMDataModule, dim: int = 4, **options: Any) -> DLRMModule:
    """Make a seeded, minimal module for a dataset."""
    torch.manual_seed(0)
    return DLRMModule(data.table_sizes, embedding_dim=dim, bottom_mlp=(13, dim), top_mlp=(1,), **options)


def quiet_trainer(**options: Any) -> DLRMTrainer:
    """Make a CPU trainer that prints and logs nothing, with these options."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return DLRMTrainer(**({"accelerator": "cpu"} | quiet | options))


def make_batches(count: int, b: int = 16, seed: int = 0) -> list[ClickBatch]:
    """Make batches with a click if the first category is odd and the first dense feature positive, or neither."""
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(count):
        dense = rng.normal(size=(b, 3)).astype(np.float32)
        indices = np.stack([rng.integers(0, rows, b) for rows in SIZES])
        labels = ((indices[0] % 2 == 1) == (dense[:, 0] > 0)).astype(np.float32)
        batches.append(ClickBatch(torch.from_numpy(dense), torch.from_numpy(indices), None, torch.from_numpy(labels)))
    return batches


def loader(batches: list[ClickBatch]) -> DataLoader[ClickBatch]:
    return DataLoader(batches, batch_size=None, shuffle=False)  # type: ignore[arg-type]


def make_trainer(**changes: Any) -> pl.Trainer:
    options: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**(options | changes))


def weights(module: DLRMModule) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_weights(one: DLRMModule, other: DLRMModule) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


class FakeData(pl.LightningDataModule):
    """A data module that states its dataset."""

    def __init__(self, sizes: list[int], fingerprint: str) -> None:
        super().__init__()
        self.table_sizes, self.dataset_fingerprint = sizes, fingerprint

    def train_dataloader(self) -> Any:
        return loader(make_batches(1))

    def test_dataloader(self) -> Any:
        return loader(make_batches(1))
