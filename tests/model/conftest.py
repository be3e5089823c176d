"""A module trained for a few steps, and its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.training import (
    OPTIONS,
    loader,
    make_batches,
    make_module,
    make_trainer,
)


@pytest.fixture(scope="session")
def trained() -> DLRMModule:
    module = make_module(**OPTIONS)
    make_trainer().fit(module, loader(make_batches(3)))
    return module


@pytest.fixture(scope="session")
def saved(trained: DLRMModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.ckpt"
    trained.trainer.save_checkpoint(path)
    return path
