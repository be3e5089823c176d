"""Fixtures that several folders share: a small dataset and a module for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.training import click_module


@pytest.fixture
def data(synthetic_folder: Path) -> DLRMDataModule:
    return DLRMDataModule(str(synthetic_folder), batch_size=500)


@pytest.fixture
def module(data: DLRMDataModule) -> DLRMModule:
    return click_module(data)
