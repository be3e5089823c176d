"""Dtypes in which processes send each other embeddings, and their gradients back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.errors import ConfigurationError

# Gradients of a mean over a batch of thousands lie below fp16's normal numbers, so they are sent multiplied by this.
_GRADIENT_SCALE = 1024.0


def check_communication(communication: Communication, shardings: Iterable[str], device: str) -> None:
    """Check that TorchRec can send a dtype for all of a model's shardings; it would silently replace some.

    Raises:
        ConfigurationError: TorchRec cannot send it; the message says why, and names the sharding if it depends on that.
    """
    if communication == "fp8":
        _refuse(
            communication,
            "TorchRec supports it only on GPUs and only for some shardings, and sends fp16 for the others",
        )
    if communication == "bf16" and device == "cpu":
        _refuse(communication, "TorchRec would send fp16 between processes on the CPU")
    if communication == "int8":
        for sharding in shardings:
            if sharding in ("row_wise", "table_row_wise"):
                _refuse(
                    communication, f"{sharding} adds up partial sums of bags, which TorchRec cannot do with integers"
                )


def _refuse(communication: Communication, reason: str) -> None:
    raise ConfigurationError(
        f"communication={communication} cannot be used: {reason}. Give fp16 or fp32; int8 is for table_wise and "
        "column_wise."
    )


def sendable(communication: Communication, rows: int) -> int:
    """Return the rows that a batch is padded to: int8 is sent 32 values at a time, and D is a multiple of 4."""
    return -(-rows // 8) * 8 if communication == "int8" else rows


def codecs(communication: Communication, device: torch.device) -> dict[str, Any] | None:
    """Return the codecs with which TorchRec packs values for sending; None if they are sent unchanged."""
    if communication == "fp32":
        return None
    from torchrec.distributed.fbgemm_qcomm_codec import CommType, QCommsConfig, get_qcomm_codecs_registry

    kind = CommType(communication)
    scale = _GRADIENT_SCALE if communication == "fp16" else None
    config = QCommsConfig(forward_precision=kind, backward_precision=kind, backward_loss_scale=scale)
    registry: dict[str, Any] = get_qcomm_codecs_registry(config, device=device)
    return registry
