"""Runs a script on several processes that train with sharded tables, as torchrun starts them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.processes.forked import Forked, torchrun_environments

needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("torchrec") is None,
    reason="TorchRec is not installed, see requirements/torchrec.txt",
)

SHARDED_TRAINING = """
from contextlib import nullcontext
from pytorch_lightning.callbacks import ModelCheckpoint
from dlrm_pl.model.training.weight_init import skip_weight_init, weights_on_shards

def train(
    batch_size, sharded, data, steps, callbacks=(), ckpt_path=None, devices=2, nodes=1, asynchronous=False,
    **options
):
    from dlrm_pl.distributed.strategy import ShardedStrategy

    torch.manual_seed(3)
    data = dlrm_pl.DLRMDataModule(data, batch_size=batch_size, shuffle="none")
    with skip_weight_init() if ckpt_path else weights_on_shards():
        module = dlrm_pl.DLRMModule(
            data.table_sizes, 8, [0, 16, 8], [16, 1], columns=data.columns, engine="torch",
            dataset_fingerprint=data.dataset_fingerprint, **options
        )
    trainer = dlrm_pl.DLRMTrainer(
        accelerator="cpu", devices=devices, num_nodes=nodes, strategy=ShardedStrategy(**sharded), max_steps=steps,
        logger=False, enable_checkpointing=bool(callbacks), enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, limit_val_batches=0, callbacks=list(callbacks),
        async_checkpoints=asynchronous,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return trainer, module
"""
"""Defines ``train`` at the beginning of a script for ``run_sharded``."""

_PROLOGUE = """
import os, sys, logging, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import torch, dlrm_pl
torch.set_num_threads(1)
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
folder = Path(sys.argv[1])
"""


def run_sharded(script: str, folder: Path, count: int = 2) -> None:
    """Run a script on ``count`` processes; ``folder``, ``torch`` and ``dlrm_pl`` are defined in it.

    Raises:
        AssertionError: a process failed; contains what it printed.
    """
    failed = [error for status, error in end_sharded(start_sharded(script, folder, count)) if status]
    assert not failed, "\n\n".join(failed)


def start_sharded(script: str, folder: Path, count: int = 2) -> list[Forked]:
    """Start the processes of ``run_sharded``."""
    return [Forked(_PROLOGUE + script, [folder], environment=one) for one in torchrun_environments(count)]


def end_sharded(processes: list[Forked]) -> list[tuple[int, str]]:
    """Wait for processes; returns the status and stderr of each."""
    return [(process.wait(timeout=250), process.errors()) for process in processes]
