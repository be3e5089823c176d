"""Checkpoints and the Trainer: what is copied, what is not, and what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlrm_pl.data.datamodule import TerabyteDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoint import load_into, load_module
from dlrm_pl.model.lightning_module import DLRMModule, weights_come_later
from dlrm_pl.trainer import DLRMTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def module(data: TerabyteDataModule, dim: int = 4, **options: object) -> DLRMModule:
    torch.manual_seed(0)
    return DLRMModule(data.table_sizes, embedding_dim=dim, bottom_mlp=(13, dim), top_mlp=(1,), **options)  # type: ignore[arg-type]


def trainer(**options: object) -> DLRMTrainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return DLRMTrainer(accelerator="cpu", enable_checkpointing=False, **(quiet | options))


@pytest.fixture
def data(synthetic_folder: Path) -> TerabyteDataModule:
    return TerabyteDataModule(str(synthetic_folder), batch_size=500, shuffle="none")


@pytest.fixture
def saved(data: TerabyteDataModule, tmp_path: Path) -> Path:
    first = trainer(max_steps=4)
    first.fit(module(data), datamodule=data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_training_goes_on_in_a_map_as_in_memory(
    data: TerabyteDataModule, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = module(data)
    trainer(max_steps=8).fit(whole, datamodule=data)
    before = saved.read_bytes()
    with weights_come_later():
        resumed = module(data)
    with caplog.at_level(logging.INFO, logger="dlrm_pl"):
        trainer(max_steps=8).fit(resumed, datamodule=data, ckpt_path=str(saved))
    assert "GiB stay in" in caplog.text
    for (name, weight), expected in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=0, msg=name)
    assert saved.read_bytes() == before


def test_scoring_leaves_the_weights_in_the_file(data: TerabyteDataModule, saved: Path) -> None:
    with weights_come_later():
        loaded = module(data)
    (scores,) = trainer().test(loaded, datamodule=data, ckpt_path=str(saved), verbose=False)
    usual = load_module(saved)
    (expected,) = trainer().test(usual, datamodule=data, verbose=False)
    assert scores == expected
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_that_were_loaded_to_be_used_are_not_trained(data: TerabyteDataModule, saved: Path) -> None:
    """Writing to them would end the process."""
    loaded = module(data)
    load_into(loaded, saved)
    with pytest.raises(ConfigurationError, match="loaded to be used and not trained"):
        trainer(max_steps=1).fit(loaded, datamodule=data)


@pytest.mark.slow
def test_a_model_larger_than_memory_is_scored(tmp_path: Path) -> None:
    """Under a limit of memory that is a twentieth of the tables, which are a sparse file."""
    (tmp_path / "program.py").write_text(_LARGE)
    subprocess.run([sys.executable, tmp_path / "program.py", tmp_path], check=True, timeout=600)


_LARGE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from dlrm_pl.data.datamodule import TerabyteDataModule
from dlrm_pl.data.synthetic import synthesize
from dlrm_pl.model.lightning_module import DLRMModule, weights_come_later
from dlrm_pl.trainer import DLRMTrainer

folder = Path(sys.argv[1])
synthesize(folder / "data", rows=3000, days=2, seed=1, label_rate=0.3, best_auroc=0.8, max_table_size=50)
for path in (folder / "data").glob("day_fea_dict*"):
    path.unlink()
(folder / "data" / "dataset.json").unlink()
counts = np.load(folder / "data" / "day_fea_count.npz")["counts"]
counts[:2] = 40_000_000
np.savez(folder / "data" / "day_fea_count.npz", counts=counts)
data = TerabyteDataModule(str(folder / "data"), batch_size=100)
shape = {"embedding_dim": 128, "bottom_mlp": (13, 128), "top_mlp": (1,)}
with weights_come_later():
    module = DLRMModule(data.table_sizes, **shape)
shapes = {name: weight.shape for name, weight in module.state_dict().items()}
with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
    state = {name: torch.empty(size) for name, size in shapes.items()}
    checkpoint = {"state_dict": state, "hyper_parameters": dict(module.hparams), "epoch": 0, "global_step": 0,
                  "pytorch-lightning_version": "2.6.6", "optimizer_states": [], "lr_schedulers": []}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "large.ckpt")
assert (folder / "large.ckpt").stat().st_size > 40e9
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
           "enable_checkpointing": False}
DLRMTrainer(**options).test(module, datamodule=data, ckpt_path=str(folder / "large.ckpt"), verbose=False)
assert module.model.embedding_bags.weights()[0].shape[0] == 40_000_000
"""
