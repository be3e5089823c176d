"""Models and batches with which every export format is tested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny
from tests.support.quantization.int8_models import lowered

Case = tuple[Int8DLRM, ClickBatch]

_ODD = replace(tiny.ARCHITECTURE, embedding_dim=7, bottom_mlp=(13, 16, 7))
_MEAN = replace(tiny.ARCHITECTURE, pooling=("mean", "sum", "mean"))
_SELF = replace(tiny.ARCHITECTURE, self_interaction=True, loss_threshold=0.01)
# Sums of 600 products may exceed what float32 represents exactly.
_WIDE = replace(tiny.ARCHITECTURE, bottom_mlp=(13, 600, 8), top_mlp=(600, 1))
# Tracing takes seconds for each table.
_SMALL = Architecture(table_sizes=(9, 7), embedding_dim=4, bottom_mlp=(13, 4), top_mlp=(1,), pooling=("mean", "sum"))
_CROSS = replace(_MEAN, interaction="dcn", cross_layers=3, cross_rank=5)
_SMALL_CROSS = replace(_SMALL, interaction="dcn", cross_layers=2, cross_rank=3)
CASES: dict[str, tuple[Any, dict[str, str], bool]] = {
    "int8": (tiny.ARCHITECTURE, {}, False),
    "int8 bags": (tiny.ARCHITECTURE, {}, True),
    "int4, odd": (_ODD, {"tables": "int4"}, False),
    "int4 bags": (tiny.ARCHITECTURE, {"tables": "int4"}, True),
    "fp16": (tiny.ARCHITECTURE, {"tables": "fp16"}, False),
    "fp16 bags": (tiny.ARCHITECTURE, {"tables": "fp16"}, True),
    "means": (_MEAN, {}, True),
    "self-interaction, clamped": (_SELF, {}, False),
    "wide": (_WIDE, {}, False),
    "small": (_SMALL, {}, False),
    "small bags": (_SMALL, {}, True),
    "float interaction": (tiny.ARCHITECTURE, {"interaction": "fp32"}, False),
    "concatenation": (replace(tiny.ARCHITECTURE, interaction="cat"), {"interaction": "fp32"}, True),
    "float linears": (tiny.ARCHITECTURE, {"linears": "fp32"}, False),
    "cross network": (_CROSS, {}, False),
    "cross network, bags": (_CROSS, {}, True),
    "cross network, int4 bags": (_CROSS, {"tables": "int4"}, True),
    "cross network, fp16": (_CROSS, {"tables": "fp16"}, False),
    "cross network, fp32 tables": (_CROSS, {"tables": "fp32", "weight_granularity": "per_tensor"}, True),
    "cross network of floats": (_CROSS, {"linears": "fp32"}, True),
    "cross network, one V of floats": (_CROSS, {"cross_net.1.v": "fp32"}, False),
    "cross network, one W of floats": (_CROSS, {"cross_net.0.w": "fp32"}, True),
    "small cross network": (_SMALL_CROSS, {}, False),
    "small cross network, bags": (_SMALL_CROSS, {}, True),
}


def make_case(name: str) -> Case:
    architecture, start, bags = CASES[name]
    make = tiny.bags if bags else tiny.batches
    ops = {op: dtype for op, dtype in start.items() if "." in op}
    start = {key: value for key, value in start.items() if key not in ops}
    return lowered(architecture, ops, **start), make(1, 400, seed=7, architecture=architecture)[0]
