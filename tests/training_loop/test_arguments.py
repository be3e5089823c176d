"""Trainer arguments that would fail only later, or train nothing."""

from typing import Any

import pytest
from pytorch_lightning.strategies import FSDPStrategy

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.trainer import DLRMTrainer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches=0 must be 1 or more"),
        ({"gradient_clip_val": -1.0}, "trainer.gradient_clip_val=-1.0 must be 0 or more"),
        ({"gradient_clip_val": float("nan")}, "trainer.gradient_clip_val=nan"),
        ({"val_check_interval": 0}, "trainer.val_check_interval=0 must be above 0"),
        ({"strategy": "fsdp"}, "trainer.strategy=fsdp shards weights.*Use trainer.strategy=ddp"),
        ({"strategy": "fsdp_cpu_offload"}, "trainer.strategy=fsdp_cpu_offload shards"),
        ({"strategy": "deepspeed_stage_2"}, "trainer.strategy=deepspeed_stage_2 shards"),
        ({"strategy": FSDPStrategy()}, "trainer.strategy=FSDPStrategy shards"),
    ],
)
def test_arguments_that_cannot_train_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DLRMTrainer(accelerator="cpu", logger=False, **arguments)
