"""The kernels as torch ops, which importing this package registers.

Shapes and types are checked here. The kernels check the contents, and report an index outside its table, or NaN, with
sample, table and value.
"""

from dlrm_pl.kernels.int8.ops.cross import LOOKUP_CROSS, lookup_cross
from dlrm_pl.kernels.int8.ops.interaction import LOOKUP_INTERACTION, lookup_interaction
from dlrm_pl.kernels.int8.ops.lookups import LOOKUP, lookup
from dlrm_pl.kernels.int8.ops.mlp import QUANTIZED_MLP, pack_weight, quantized_mlp
from dlrm_pl.kernels.int8.ops.packing import pack_rows, pack_rows_into

__all__ = [
    "LOOKUP",
    "LOOKUP_CROSS",
    "LOOKUP_INTERACTION",
    "QUANTIZED_MLP",
    "lookup",
    "lookup_cross",
    "lookup_interaction",
    "pack_rows",
    "pack_rows_into",
    "pack_weight",
    "quantized_mlp",
]
