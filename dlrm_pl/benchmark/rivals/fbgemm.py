"""FBGEMM: int8 or int4 tables with bf16 output, followed by bf16 MLPs and interaction, compiled by Inductor."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.compilation import compile_module
from dlrm_pl.benchmark.contenders import BF16_ROUNDING
from dlrm_pl.benchmark.rivals.one_hot import DensePart
from dlrm_pl.benchmark.rivals.rival import Load, Rival
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.model.dlrm import DLRM


def rivals(model: DLRM) -> tuple[Rival, ...]:
    """Make the rivals, which support bags as well."""
    values = sum(table.numel() for table in model.embedding_bags.parameters())

    def rival(bits: int) -> Rival:
        # FBGEMM's tables, and the quantized copy of one table, which is at most as large as all of them.
        memory = 2 * values * bits // 8
        name, label = f"fbgemm_int{bits}", f"FBGEMM int{bits}"

        def build() -> Load:
            return _load(model, bits)

        return Rival(name, label, nn.Identity(), rounding=BF16_ROUNDING, build=build, memory=memory, compiled=True)

    return rival(8), rival(4)


def _load(model: DLRM, bits: int) -> Load:
    lookup = _lookup_of(model, bits)
    half = copy.deepcopy(DensePart(model)).bfloat16().eval()
    architecture = model.architecture

    def load(batch: ClickBatch) -> Scorer:
        tables, size = architecture.num_tables, batch.num_samples
        one_hot = torch.arange(tables * size + 1, dtype=torch.int32)
        embeddings = torch.zeros(size, tables, architecture.embedding_dim, dtype=torch.bfloat16)
        rest = compile_module(half, batch.dense.bfloat16(), embeddings)

        def score(batch: ClickBatch) -> Tensor:
            offsets = one_hot if batch.offsets is None else batch.offsets.int()
            pooled = lookup(batch.indices.flatten().int(), offsets).view(size, tables, -1)
            logits: Tensor = rest(batch.dense.bfloat16(), pooled)
            return logits.float()

        return score

    return load


def _lookup_of(model: DLRM, bits: int) -> Any:
    """Quantize the tables as TorchRec does for inference: a scale and a bias in fp16 for each row."""
    from fbgemm_gpu.split_embedding_configs import SparseType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_inference import IntNBitTableBatchedEmbeddingBagsCodegen

    architecture = model.architecture
    weights = [weight.detach() for weight in model.embedding_bags.parameters()]
    dtype = {8: SparseType.INT8, 4: SparseType.INT4}[bits]
    specs = [(f"table_{t}", *table.shape, dtype, EmbeddingLocation.HOST) for t, table in enumerate(weights)]
    lookup: Any = IntNBitTableBatchedEmbeddingBagsCodegen(
        specs,
        device="cpu",
        output_dtype=SparseType.BF16,
        pooling_mode=PoolingMode.MEAN if any(architecture.is_mean) else PoolingMode.SUM,
    )
    lookup.initialize_weights()
    width = architecture.embedding_dim * bits // 8
    for table, (values, scales) in zip(weights, lookup.split_embedding_weights(), strict=True):
        quantized = torch.ops.fbgemm.FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf(table, bits)
        values.copy_(quantized[:, :width])
        scales.copy_(quantized[:, width:])
    return lookup
