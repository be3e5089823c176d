"""PyTorch's own int8: post-training quantization of the exported model (PT2E, torchao), compiled by Inductor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.compilation import compile_for
from dlrm_pl.benchmark.contenders import BF16_ROUNDING
from dlrm_pl.benchmark.rivals.one_hot import OneHotModel
from dlrm_pl.benchmark.rivals.rival import Load, Rival
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.runtime.cpu import cpu_features

PACKAGES = {"torchao": "torchao"}


def rivals(model: DLRM, calibration: Iterable[ClickBatch]) -> tuple[Rival, ...]:
    """Make the rival: int8 Linears, the rest in bf16 where the processor multiplies bf16, else in fp32."""

    def build() -> Load:
        quantized = _Tensors(_quantized(model, calibration))
        return lambda batch: compile_for(quantized, batch)

    return (Rival("pt2e_int8", "PT2E int8", nn.Identity(), rounding=BF16_ROUNDING, build=build, compiled=True),)


class _Tensors(nn.Module):
    """A model of plain tensors that scores batches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.in_bfloat16 = bool({"avx512_bf16", "amx_bf16"} & set(cpu_features()))

    def forward(self, batch: ClickBatch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.in_bfloat16):
            logits: Tensor = self.model(batch.dense, batch.indices)
        return logits.float()


def _quantized(model: DLRM, calibration: Iterable[ClickBatch]) -> nn.Module:
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    size = torch.export.Dim("batch")
    with torch.inference_mode(False), torch.no_grad():
        example = next(iter(calibration))
        module = OneHotModel(model, with_tables=True).eval()
        exported = torch.export.export(module, (example.dense, example.indices), dynamic_shapes=({0: size}, {1: size}))
        quantizer: Any = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(exported.module(), quantizer)
        for batch in calibration:
            prepared(batch.dense, batch.indices)
        converted: nn.Module = convert_pt2e(prepared)
    return converted
