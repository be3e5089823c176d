"""Check, before training, that all processes have the same data, options and versions."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch.distributed as dist

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.resuming.run_settings import run_settings
from dlrm_pl.version import __version__

_PACKAGES = ("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "pytorch-lightning", "numpy")
_OF_PROCESS = ("data.folder",)
"""Options that may differ, because they only state where something is."""


def check_agreement(module: DLRMModule, more: Mapping[str, Any]) -> None:
    """Check that all processes would train the same model on the same data in the same way.

    Args:
        module: module whose Trainer has a data module.
        more: additional options, by name.

    Raises:
        ConfigurationError: a process differs from the first; the message names it, what differs, and both values.
    """
    own = facts(module) | {name: _text(value) for name, value in more.items()}
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    found: list[dict[str, str]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, own | {"": socket.gethostname()})
    if difference := difference_of(found):
        raise ConfigurationError(difference)


def facts(module: DLRMModule) -> dict[str, str]:
    """Return what must be equal on all processes, as names and text values."""
    trainer: Any = module.trainer
    versions = {"Python": platform.python_version(), "dlrm_pl": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    data = trainer.datamodule
    fingerprint = getattr(data, "dataset_fingerprint", "")
    settings = run_settings(trainer) | {
        f"model.{name}": value for name, value in module.hparams.items() if not name.startswith("_")
    }
    lengths = {
        name: getattr(trainer, name)
        for name in ("max_epochs", "max_steps", "limit_train_batches", "limit_val_batches", "val_check_interval")
    }
    settings |= {f"trainer.{name}": value for name, value in lengths.items()}
    texts = {name: _text(value) for name, value in settings.items() if name not in _OF_PROCESS}
    return {f"the version of {name}": text for name, text in versions.items()} | {
        "the fingerprint of the dataset": str(fingerprint or "unknown"),
        "ckpt_path": "not given" if trainer.ckpt_path is None else "given",
        **texts,
    }


def difference_of(found: Sequence[Mapping[str, str]]) -> str:
    """Describe the first difference between a process and the first process; "" if there is none.

    Args:
        found: names and values of each process; the name "" stands for its machine.
    """
    first = found[0]
    for rank, other in enumerate(found[1:], 1):
        for name in [*first, *(name for name in other if name not in first)]:
            before, now = first.get(name, "not there"), other.get(name, "not there")
            if name and before != now:
                return (
                    f"The processes do not agree: {name} is {now} on rank {rank} ({other['']}), but {before} on rank 0 "
                    f"({first['']}). Start all processes with the same versions, options and data."
                )
    return ""


def _text(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]}...{hash_of(text)}"


def hash_of(text: str) -> str:
    """Return a short checksum, so that long values with the same beginning can be told apart."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:8]
