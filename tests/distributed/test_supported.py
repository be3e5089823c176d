"""Settings that sharded tables do not support are refused with the reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlrm_pl.distributed.communication import check_communication
from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.supported import check_supported, remark_on_shardings
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def module_of(*, training: bool = True, clip: float | None = None, **options: Any) -> DLRMModule:
    module = DLRMModule([5, 3], 4, [2, 4], [1], **options)
    module._trainer = SimpleNamespace(training=training, gradient_clip_val=clip)  # type: ignore[assignment]
    return module


@pytest.mark.parametrize(
    ("options", "device", "message"),
    [
        (
            {"weighted_pooling": "learned"},
            CPU,
            r"model\.weighted_pooling=learned .* rows multiplied by a trained weight",
        ),
        ({"table_format": "split"}, CPU, r"model\.table_format=split .* reads whole values"),
        ({"tables_on": "host"}, GPU, r"model\.tables_on=host .* on its process's device"),
        ({"clip": 0.5}, CPU, r"trainer\.gradient_clip_val=0\.5 .* before the norm of all gradients is known"),
    ],
)
def test_a_setting_that_cannot_be_followed_is_refused(
    options: dict[str, Any], device: torch.device, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_supported(module_of(**options), device)


def test_tables_of_another_kind_are_refused() -> None:
    module = module_of()
    module.model.embedding_bags = torch.nn.Identity()
    with pytest.raises(ConfigurationError, match="has a Identity"):
        check_supported(module, CPU)


@pytest.mark.parametrize("options", [{}, {"tables_on": "host"}, {"clip": 0.5, "training": False}, {"clip": 0.0}])
def test_others_are_accepted(options: dict[str, Any]) -> None:
    check_supported(module_of(**options), CPU)


@pytest.mark.parametrize(
    ("communication", "shardings", "device", "message"),
    [
        ("fp8", ["row_wise"], "cuda", "communication=fp8 cannot be used: .* sends fp16 for the others"),
        ("bf16", ["table_wise"], "cpu", "communication=bf16 cannot be used: TorchRec would send fp16"),
        ("int8", ["table_wise", "row_wise"], "cpu", "communication=int8 cannot be used: row_wise adds up partial sums"),
        ("int8", ["table_row_wise"], "cpu", "table_row_wise adds up partial sums"),
    ],
)
def test_a_type_that_torchrec_replaces_is_refused(
    communication: Communication, shardings: list[str], device: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_communication(communication, shardings, device)


def test_types_that_it_sends_are_accepted() -> None:
    for communication in ("fp32", "fp16"):
        check_communication(communication, ["table_wise", "row_wise", "data_parallel"], "cpu")  # type: ignore[arg-type]
    check_communication("int8", ["table_wise", "column_wise", "data_parallel"], "cpu")
    check_communication("bf16", ["row_wise"], "cuda")


def test_row_wise_adagrad_of_parts_of_rows_is_remarked_on() -> None:
    module = module_of(optimizer="rwsadagrad")
    assert "depend on the number of parts" in remark_on_shardings(module, {"column_wise", "row_wise"})
    assert remark_on_shardings(module, {"row_wise"}) == ""
    assert remark_on_shardings(module_of(), {"column_wise"}) == ""
