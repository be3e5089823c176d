"""Arguments that do not fit together are refused, by the ops with a message and by the C functions themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrm_pl.errors import LookupIndexError, ShapeError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.native import NativeKernels
from dlrm_pl.kernels.int8.selection import available, kernels_of

needs_native = pytest.mark.skipif("generic" not in available(), reason="the native code was not built")

BATCH, DIM, ROWS = 5, 8, 6
DENSE = torch.ones(BATCH, DIM)
TABLES = [torch.ops.dlrm_pl.pack_rows(torch.rand(ROWS, DIM), 0)] * 2
INDICES = torch.zeros(2, BATCH, dtype=torch.int64)
BAGS = torch.zeros(2 * BATCH, dtype=torch.int64), torch.arange(2 * BATCH + 1)
WIDTH = DIM + 3

LOOKUP: dict[str, Any] = {
    "indices": INDICES,
    "offsets": None,
    "tables": TABLES,
    "dtypes": [0, 0],
    "dim": DIM,
    "batch": BATCH,
}
INTERACTION: dict[str, Any] = {
    "dense": DENSE,
    "indices": INDICES,
    "offsets": None,
    "tables": TABLES,
    "dtypes": [0, 0],
    "diagonal": False,
    "output_scale": 0.5,
    "output_zero_point": 3,
}
MLP: dict[str, Any] = {
    "x": torch.ones(BATCH, 13),
    "input_scales": [0.5, 1.0],
    "input_zero_points": [3, 0],
    "weights": [
        ops.pack_weight(torch.ones(20, 13, dtype=torch.int8)),
        ops.pack_weight(torch.ones(3, 20, dtype=torch.int8)),
    ],
    "multipliers": [torch.ones(32), torch.ones(16)],
    "biases": [torch.ones(32), torch.ones(16)],
    "widths": [13, 20, 3],
    "lowest": [0.0, float("-inf")],
}
HALVES = MLP | {
    "weights": [ops.pack_weight(torch.ones(20, 13, dtype=torch.bfloat16)), MLP["weights"][1]],
    "multipliers": [torch.empty(0), torch.ones(16)],
}


WIDE = 3 * DIM
CROSS: dict[str, Any] = {
    "dense": DENSE,
    "indices": INDICES,
    "offsets": None,
    "tables": TABLES,
    "dtypes": [0, 0],
    "input_scales": [0.5, 0.25],
    "input_zero_points": [3, 4],
    "weights": [
        ops.pack_weight(torch.ones(5, WIDE, dtype=torch.int8)),
        ops.pack_weight(torch.ones(WIDE, 5, dtype=torch.int8)),
    ]
    * 2,
    "multipliers": [torch.ones(16), torch.ones(32)] * 2,
    "biases": [torch.ones(16), torch.ones(32)] * 2,
    "rank": 5,
    "output_scale": 0.5,
    "output_zero_point": 3,
}


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize(
    ("op", "good", "change", "message"),
    [
        (ops.lookup, LOOKUP, {"dim": 0}, "at least one value"),
        (ops.lookup, LOOKUP, {"dim": 9}, "rows of dim 9 have 13 bytes"),
        (ops.lookup, LOOKUP, {"batch": -1}, "a batch of at least 0, got"),
        (ops.lookup, LOOKUP, {"batch": 4}, r"indices of shape \[T, B\] = \[2, 4\]"),
        (ops.lookup, LOOKUP, {"dtypes": [0, 4]}, r"from 0 to 3, got \[0, 4\]"),
        (ops.lookup, LOOKUP, {"dtypes": [0, -1]}, r"from 0 to 3, got \[0, -1\]"),
        (ops.lookup, LOOKUP, {"dtypes": [0]}, "2 tables need one dtype each"),
        (
            ops.lookup,
            LOOKUP,
            {"is_mean": [True]},
            "2 tables need one flag each for averaging, or no flags at all, got 1",
        ),
        (ops.lookup, LOOKUP, {"tables": [torch.zeros(ROWS, 3, dtype=torch.int32)] * 2}, "contiguous torch.uint8"),
        (ops.lookup, LOOKUP, {"indices": BAGS[0], "offsets": BAGS[1].int()}, "int64, got torch.int64 and torch.int32"),
        (ops.lookup, LOOKUP, {"indices": BAGS[0], "offsets": BAGS[1][1:]}, "11 offsets, got"),
        (ops.lookup_interaction, INTERACTION, {"dense": torch.ones(BATCH, 0)}, "up to 32768 values a row, got 2 of 0"),
        (ops.lookup_interaction, INTERACTION, {"dense": torch.ones(1, 32_769)}, "got 2 of 32769"),
        (ops.lookup_interaction, INTERACTION, {"output_scale": 0.0}, "got 0.0 and 3"),
        (ops.lookup_interaction, INTERACTION, {"output_scale": float("nan")}, "got nan and 3"),
        (ops.lookup_interaction, INTERACTION, {"output_scale": 1e-40}, "got 1e-40 and 3"),
        (ops.lookup_interaction, INTERACTION, {"output_zero_point": 256}, "got 0.5 and 256"),
        (ops.quantized_mlp, MLP, {"weights": [], "widths": [13]}, "for each of its layers, got"),
        (ops.quantized_mlp, MLP, {"weights": [], "widths": []}, "for each of its layers, got"),
        (ops.quantized_mlp, MLP, {"widths": []}, "for each of its layers, got"),
        (ops.quantized_mlp, MLP, {"widths": [13, 20]}, "for each of its layers, got"),
        (ops.quantized_mlp, MLP, {"widths": [13, 20, 0]}, "layer 1: .* got 20 and 0"),
        (ops.quantized_mlp, MLP, {"widths": [13, 33, 3]}, "layer 0: 13 inputs and 33 outputs need"),
        (ops.quantized_mlp, MLP, {"x": torch.ones(BATCH, 0), "widths": [0, 20, 3]}, "got 0 and 20"),
        (
            ops.quantized_mlp,
            MLP,
            {"x": torch.ones(BATCH, 65_793), "widths": [65_793, 20, 3]},
            "1 to 65792 inputs .* got 65793",
        ),
        (ops.quantized_mlp, MLP, {"x": torch.ones(BATCH, 12)}, r"packed for 13 inputs, got \[5, 12\]"),
        (ops.quantized_mlp, MLP, {"x": torch.ones(BATCH, 14)}, r"packed for 13 inputs, got \[5, 14\]"),
        (ops.quantized_mlp, MLP, {"x": torch.ones(BATCH, 0)}, r"packed for 13 inputs, got \[5, 0\]"),
        (ops.quantized_mlp, MLP, {"x": torch.ones(BATCH, 63).byte()}, r"must be padded to 64, got \[5, 63\]"),
        (
            ops.quantized_mlp,
            MLP,
            {"x": torch.ones(BATCH, 64).byte(), "weights": [torch.ones(64).char()] * 2},
            "layer 0",
        ),
        (
            ops.quantized_mlp,
            MLP,
            {"multipliers": [torch.ones(32).double(), torch.ones(16)]},
            "layer 0: .* torch.float64",
        ),
        (ops.quantized_mlp, MLP, {"biases": [torch.ones(32), torch.ones(32)[::2]]}, "layer 1: .* all contiguous"),
        (
            ops.quantized_mlp,
            MLP,
            {"lowest": [-1.0, 0.0]},
            "layer 0: the least value of its output must be from 0 to 255, got -1.0",
        ),
        (ops.quantized_mlp, MLP, {"lowest": [0.0, float("nan")]}, "layer 1: .* nan"),
        (ops.quantized_mlp, MLP, {"input_scales": [-1.0, 1.0]}, "got -1.0 and 3"),
        (ops.quantized_mlp, MLP, {"input_scales": [1.0]}, "for each of its layers, got"),
        (ops.quantized_mlp, HALVES, {"input_scales": [-1.0, -2.0]}, "got -2.0 and 0"),
        (ops.quantized_mlp, HALVES, {"x": torch.ones(BATCH, 64).byte()}, "A bf16 Linear takes float32"),
        (
            ops.quantized_mlp,
            HALVES,
            {"multipliers": [torch.ones(32), torch.ones(16)]},
            r"layer 0: .* packed bf16 weights \[2, 2, 16, 32\], 0 float32 multipliers and 32",
        ),
        (ops.quantized_mlp, HALVES, {"weights": [torch.ones(20, 13).half()] * 2}, "layer 0: .* torch.float16"),
        (ops.lookup_cross, CROSS, {"dense": DENSE.double()}, "takes a float32 dense vector"),
        (ops.lookup_cross, CROSS, {"dense": torch.ones(BATCH, 0)}, "got 0 values, of 2 tables"),
        (ops.lookup_cross, CROSS, {"dense": torch.ones(1, 32_769)}, "takes 1 to 65,792 values.* got 98,307 values"),
        (ops.lookup_cross, CROSS, {"rank": 0}, "and rank 0"),
        (ops.lookup_cross, CROSS, {"rank": 65_793}, "and rank 65,793"),
        (ops.lookup_cross, CROSS, {"rank": 17}, "v of cross layer 0: 24 inputs and 17 outputs need"),
        (ops.lookup_cross, CROSS, {"input_scales": []}, "0 cross layers need"),
        (ops.lookup_cross, CROSS, {"input_scales": [0.5]}, "1 cross layers need zero points .* got 2, 4, 4 and 4"),
        (ops.lookup_cross, CROSS, {"biases": CROSS["biases"][:3]}, "got 2, 4, 4 and 3"),
        (ops.lookup_cross, CROSS, {"input_scales": [0.5, 0.0]}, "got 0.0 and 4"),
        (ops.lookup_cross, CROSS, {"input_zero_points": [0, 256]}, "got 0.25 and 256"),
        (ops.lookup_cross, CROSS, {"output_scale": float("inf")}, "got inf and 3"),
        (ops.lookup_cross, CROSS, {"weights": CROSS["weights"][::-1]}, "v of cross layer 0: 24 inputs and 5 outputs"),
        (ops.lookup_cross, CROSS, {"multipliers": [torch.ones(16)] * 4}, "w of cross layer 0: 5 inputs and 24 outputs"),
        (ops.lookup_cross, CROSS, {"dtypes": [0, 4]}, r"from 0 to 3, got \[0, 4\]"),
        (ops.pack_rows, {"values": DENSE, "dtype": 0}, {"dtype": 2}, "int4, got .* and 2"),
        (ops.pack_rows, {"values": DENSE, "dtype": 0}, {"dtype": -1}, "int4, got .* and -1"),
        (ops.pack_rows, {"values": DENSE, "dtype": 0}, {"values": torch.ones(3)}, r"got \[3\]"),
        (ops.pack_rows, {"values": DENSE, "dtype": 0}, {"values": torch.ones(3, 0)}, r"Float32 rows \[3, 0\]"),
        (ops.pack_rows, {"values": DENSE, "dtype": 0}, {"values": DENSE.double()}, "got torch.float64"),
    ],
)
def test_ops_refuse_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    op: Callable[..., Tensor],
    good: dict[str, Any],
    change: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", name)
    op(**good)
    with pytest.raises(ShapeError, match=message):
        op(**(good | change))


# --- The C functions, without the ops


def native() -> NativeKernels:
    found = kernels_of("generic")
    assert isinstance(found, NativeKernels)
    return found


POOLING: dict[str, Any] = {
    "indices": INDICES,
    "offsets": None,
    "tables": TABLES,
    "dtypes": [0, 0],
    "is_mean": (),
    "out": torch.empty(BATCH, 2, DIM),
}
FUSED = INTERACTION | {"width": WIDTH, "is_mean": (), "out": torch.empty(BATCH, 64, dtype=torch.uint8)}
CHAIN = MLP | {"out": torch.empty(BATCH, 3)}
MIXED = HALVES | {"out": torch.empty(BATCH, 3)}
EMPTY = torch.empty(0)  # Without an address.
CROSSED = CROSS | {"is_mean": (), "out": torch.empty(BATCH, 64, dtype=torch.uint8)}


@needs_native
@pytest.mark.parametrize(
    ("function", "good", "change", "reason"),
    [
        ("pooling", POOLING, {"out": torch.empty(BATCH, 2, 0)}, "invalid number of tables, samples or values"),
        ("pooling", POOLING, {"dtypes": [0, 4]}, "invalid type of a table"),
        ("pooling", POOLING, {"dtypes": [-1, 0]}, "invalid type of a table"),
        ("pooling", POOLING, {"is_mean": (1, 2)}, "the flag for averaged bags is neither 0 nor 1"),
        ("pooling", POOLING, {"indices": INDICES[:, :4]}, "one-hot indices need one lookup for each table and sample"),
        ("pooling", POOLING, {"tables": [torch.empty(3, 0)] * 2}, "the rows of a table are missing"),
        ("interaction", FUSED, {"width": WIDTH + 1}, "invalid width of the output"),
        ("interaction", FUSED, {"diagonal": 2}, "the flag for products of a vector with itself"),
        ("interaction", FUSED, {"diagonal": True}, "invalid width of the output"),
        ("interaction", FUSED, {"out": torch.empty(BATCH, 128, dtype=torch.uint8)}, "padded to 64"),
        ("interaction", FUSED, {"output_scale": float("inf")}, "invalid scale or zero point of the output"),
        ("interaction", FUSED, {"out": torch.empty(0, 64)}, "the dense vectors or the output are missing"),
        (
            "interaction",
            FUSED,
            {"tables": TABLES * 33, "dtypes": [0] * 66, "indices": INDICES[:1].repeat(66, 1)},
            "more",
        ),
        (
            "cross",
            CROSSED,
            {key: [] for key in ("input_scales", "input_zero_points", "weights", "multipliers", "biases")},
            "invalid number of cross layers",
        ),
        ("cross", CROSSED, {"rank": -1}, "invalid number of outputs of a layer"),
        ("cross", CROSSED, {"rank": 65}, "a layer's inputs are not the outputs of the one before"),
        ("cross", CROSSED, {"weights": [each[:, :0] for each in CROSS["weights"]]}, "a layer's inputs are not"),
        ("cross", CROSSED, {"biases": [EMPTY] * 4}, "an array of a layer is missing"),
        ("cross", CROSSED, {"input_scales": [0.5, float("nan")]}, "invalid scale or zero point of a cross layer"),
        ("cross", CROSSED, {"input_zero_points": [0, float("nan")]}, "invalid scale or zero point of a cross layer"),
        ("cross", CROSSED, {"output_scale": float("nan")}, "invalid scale or zero point of the output"),
        ("cross", CROSSED, {"out": torch.empty(BATCH, 128, dtype=torch.uint8)}, "padded to 64"),
        ("cross", CROSSED, {"out": torch.empty(0, WIDE)}, "the dense vectors or the output are missing"),
        ("cross", CROSSED, {"dtypes": [0, 4]}, "invalid type of a table"),
        ("cross", CROSSED, {"dense": torch.ones(BATCH, 65_793)}, "more values than a cross layer takes"),
        ("mlp", MIXED, {"x": torch.ones(3, 64).byte()}, "a layer of bfloat16 does not read bytes"),
        ("mlp", MIXED, {"input_scales": [1.0, float("inf")]}, "invalid scale or zero point of a layer behind one of"),
        ("mlp", MIXED, {"biases": [EMPTY, EMPTY]}, "an array of a layer is missing"),
        ("mlp", MIXED, {"lowest": [float("nan"), 0.0]}, "invalid least value of a layer"),
        ("mlp", MIXED, {"widths": [13, 65, 3]}, "inputs are not the outputs of the one before"),
        ("mlp", CHAIN, {"x": torch.empty(3, 0)}, "invalid number of inputs"),
        ("mlp", CHAIN, {"x": torch.ones(3, 12)}, "invalid number of inputs"),
        ("mlp", CHAIN, {"x": torch.ones(3, 65), "widths": [65, 20, 3]}, "inputs are not the outputs of the one before"),
        ("mlp", CHAIN, {"x": torch.ones(3, 13).byte()}, "bytes must be padded to the first layer's inputs"),
        ("mlp", CHAIN, {"widths": [13, 65, 3]}, "inputs are not the outputs of the one before"),
        ("mlp", CHAIN, {"widths": [13, 20, -1]}, "invalid number of outputs of a layer"),
        ("mlp", CHAIN, {"lowest": [256.0, 0.0]}, "invalid least value of a layer"),
        ("mlp", CHAIN, {"input_scales": [float("nan"), 1.0]}, "invalid scale or zero point of the input"),
        ("mlp", CHAIN, {"biases": [EMPTY, EMPTY]}, "an array of a layer is missing"),
        ("mlp", CHAIN, {"out": EMPTY}, "the input or the output is missing"),
        (
            "pack",
            {"values": DENSE, "dtype": "int8", "out": TABLES[0]},
            {"dtype": "fp16"},
            "rows are packed as int8 or int4 only",
        ),
        ("pack", {"values": DENSE, "dtype": "int8", "out": TABLES[0]}, {"values": torch.empty(3, 0)}, "rows or values"),
        ("pack", {"values": DENSE, "dtype": "int8", "out": TABLES[0]}, {"out": EMPTY}, "the output are missing"),
    ],
)
def test_c_functions_refuse_what_does_not_fit(
    function: str, good: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    call = getattr(native(), function)
    assert call(**good) is None
    with pytest.raises(ShapeError, match=f"The int8 kernel {function} was called with .*{reason}"):
        call(**(good | change))


@needs_native
def test_c_functions_refuse_null_and_numbers_beyond_64_bits() -> None:
    functions, variant = native()._functions, native()._variant
    where = (ctypes.c_int64 * 3)()
    for bad in (None, 12345):
        assert functions["name"](bad) is None
        assert functions["peak"](bad, 1) < 0
        assert functions["mlp"](bad, b"", b"", 1, 1, where) == -2
        assert functions["pack"](bad, DENSE.data_ptr(), 1, 1, 0, TABLES[0].data_ptr(), 1, where) == -2
    assert functions["peak"](variant, -1) < 0
    for function in ("interaction", "pooling"):
        assert functions[function](variant, None, None, None, None, None, 1, where) == -2
        assert functions[function](variant, bytes(200), None, None, None, None, 1, None) == -2
        assert functions[function](variant, bytes(200), None, None, None, None, 1, where) == -2  # A dimension of 0.
    assert functions["cross"](variant, None, None, None, None, None, None, None, None, 1, where) == -2
    assert functions["cross"](variant, bytes(200), None, None, None, None, None, None, None, 1, where) == -2
    for rows, dim in ((-1, 8), (8, -1), (2**40, 2**40), (2**62, 1)):
        assert functions["pack"](variant, DENSE.data_ptr(), rows, dim, 0, TABLES[0].data_ptr(), 1, where) == -2
    assert functions["variant"](5) is None
    assert functions["variant"](-1) is None


@needs_native
def test_touching_rows_checks_rows_and_indices() -> None:
    rows, indices = torch.ones(7, 132, dtype=torch.uint8), torch.arange(7)
    assert native().touch(rows, indices) is None
    assert native().touch(rows, indices[:0]) is None
    for wrong in (indices + 1, indices - 1):
        with pytest.raises(LookupIndexError, match=r"row (7|-1) was asked for, which has rows 0 to 6"):
            native().touch(rows, wrong)
    for bad_rows, bad_indices in (
        (rows.int(), indices),
        (rows[:, ::2], indices),
        (rows, indices.int()),
        (rows[0], indices),
    ):
        with pytest.raises(ShapeError, match="Contiguous uint8 rows"):
            native().touch(bad_rows, bad_indices)
    with pytest.raises(ShapeError, match="invalid number of rows, bytes or lookups"):
        native().touch(rows[:, :0], indices)
    with pytest.raises(ShapeError, match="-1 repeats"):
        native().int8_peak(-1)


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("index", [2**62, -(2**62), 2**63 - 1, -(2**63)])
def test_an_index_without_an_address_is_named(monkeypatch: pytest.MonkeyPatch, name: str, index: int) -> None:
    """The row is prefetched a few samples before its lookup, when no address can be computed for this index."""
    monkeypatch.setenv("DLRM_PL_ISA", name)
    indices = torch.zeros(2, 40, dtype=torch.int64)
    indices[1, 17] = index
    for bags, offsets in ((indices, None), (indices.flatten(), torch.arange(81))):
        with pytest.raises(LookupIndexError, match=f"sample 17: row {index} of table 1"):
            ops.lookup(bags, offsets, TABLES, [0, 0], DIM, 40)
        with pytest.raises(LookupIndexError, match=f"sample 17: row {index} of table 1"):
            ops.lookup_interaction(torch.ones(40, DIM), bags, offsets, TABLES, [0, 0], False, None, 0)
    assert offsets is not None
    offsets[17], offsets[18] = index, 2**63 - 1
    with pytest.raises(LookupIndexError, match="its bag of table 0"):
        ops.lookup(bags, offsets, TABLES, [0, 0], DIM, 40)


def test_the_c_function_refuses_an_mlp_without_layers() -> None:
    with pytest.raises(ShapeError, match=r"The int8 kernel mlp was called with .*invalid number of layers"):
        native().prepared_mlp(torch.ones(BATCH, 13), 1.0, 0, b"", 0, 13, torch.empty(BATCH, 3))
