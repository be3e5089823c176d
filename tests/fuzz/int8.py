"""Random calls of the int8 kernels, with each variant compared with the fallback: shapes, indices and values."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrm_pl import kernels
from dlrm_pl.errors import DLRMError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.native import VERSION, NativeKernels
from dlrm_pl.kernels.int8.rows import BLOCK_IN, BLOCK_OUT, TABLE_DTYPES, round_up, row_bytes
from dlrm_pl.kernels.int8.selection import available, kernels_of
from dlrm_pl.kernels.library import load_built
from tests.fuzz.outcome import HUGE, Rng, outcome, vague

SPECIAL = (float("nan"), float("inf"), -float("inf"), 3.4e38, -3.4e38, 1e-45, -0.0)


def lookups(rng: Rng) -> None:
    """Call both lookup ops on the same bags."""
    dim, batch, count = dimension(rng), int(rng.integers(0, 70)), int(rng.choice([0, 1, 2, 3, 7, 15, 16, 33, 64, 65]))
    count = min(count, max(1, 4000 // dim))
    dtypes = rng.integers(0, len(TABLE_DTYPES), count).tolist()
    sizes = rng.integers(1, 50, count).tolist()
    wild = rng.random() < 0.2  # Rows of any bytes, including scales that are NaN or infinite.
    tables = [table(rng, dtype, rows, dim, wild=wild) for dtype, rows in zip(dtypes, sizes, strict=True)]
    indices, offsets = bags(rng, sizes, batch)
    dense = numbers(rng, batch, dim)
    exact = damage(rng, dense, indices, offsets) and not wild
    given = {"dense": dense, "indices": indices, "offsets": offsets, "tables": tables, "dtypes": dtypes}
    shapes = misshapen(rng, given)
    exact &= shapes is given  # Fewer indices end a bag too early, which is an additional error.
    scale = None if rng.random() < 0.3 else float(10.0 ** rng.uniform(-3, 3))
    quantized = bool(rng.random() < 0.5), scale, int(rng.integers(0, 256))
    bag = shapes["indices"], shapes["offsets"], shapes["tables"], shapes["dtypes"]
    means = [] if rng.random() < 0.5 else (rng.random(count) < 0.5).tolist()
    agree(rng, lambda: ops.lookup_interaction(shapes["dense"], *bag, *quantized, means), exact=exact)
    agree(rng, lambda: ops.lookup(*bag, dim, batch, means), exact=exact)


def cross(rng: Rng) -> None:
    """Call lookups followed by a cross network."""
    dim, batch, count = dimension(rng), int(rng.integers(0, 150)), int(rng.choice([0, 1, 2, 3, 7, 26]))
    count = min(count, max(1, 3000 // dim))
    dtypes, sizes = rng.integers(0, len(TABLE_DTYPES), count).tolist(), rng.integers(1, 50, count).tolist()
    tables = [table(rng, dtype, rows, dim, wild=False) for dtype, rows in zip(dtypes, sizes, strict=True)]
    indices, offsets = bags(rng, sizes, batch)
    dense = numbers(rng, batch, dim)
    exact = damage(rng, dense, indices, offsets)
    layers, rank, width = int(rng.integers(1, 4)), int(rng.integers(1, 200)), (count + 1) * dim
    weights, multipliers, biases = [], [], []
    for ins, outs, step in [(width, rank, 64), (rank, width, 9000)] * layers:
        weights.append(ops.pack_weight(torch.from_numpy(rng.integers(-128, 128, (outs, ins)).astype(np.int8))))
        multipliers.append(torch.zeros(round_up(outs, BLOCK_OUT)))
        multipliers[-1][:outs] = torch.from_numpy(rng.uniform(0.2, 3, outs) / (step * ins**0.5))
        biases.append(torch.zeros(round_up(outs, BLOCK_OUT)))
        biases[-1][:outs] = torch.from_numpy(rng.normal(6400 / step, 40 / step, outs))
    given = {"dense": dense, "indices": indices, "offsets": offsets, "tables": tables, "dtypes": dtypes}
    given |= {"weights": weights, "multipliers": multipliers, "biases": biases}
    given |= {"input_scales": (10.0 ** rng.uniform(-2, 0, layers)).tolist()}
    given |= {"input_zero_points": rng.integers(0, 256, layers).tolist()}
    shapes = misshapen(rng, given)
    exact &= shapes is given
    shapes |= {"rank": rank, "output_scale": None if rng.random() < 0.3 else float(10.0 ** rng.uniform(-3, 3))}
    shapes |= {"is_mean": [] if rng.random() < 0.5 else (rng.random(count) < 0.5).tolist()}
    agree(rng, lambda: ops.lookup_cross(output_zero_point=width % 256, **shapes), exact=exact)


def mlp(rng: Rng) -> None:
    """Call a chain of int8 and bf16 Linears with floats or bytes."""
    layers, wide = int(rng.integers(1, 5)), rng.random() < 0.1
    widths = rng.integers(1, 1500 if wide else 150, layers + 1).tolist()
    rows = int(rng.choice([0, 1, 2, 3, 15, 16, 17, 31, 33, 70, 530]))
    weights, multipliers, biases, lowest = [], [], [], []
    halves = rng.random(layers) < (0.4 if rng.random() < 0.5 else 0)
    for (ins, outs), half in zip(pairwise(widths), halves, strict=True):
        if half:
            numbers_ = rng.normal(0, ins**-0.5, (outs, ins)) * 10.0 ** rng.uniform(-20, 1, (outs, 1))
            weights.append(ops.pack_weight(torch.from_numpy(numbers_).bfloat16()))
            multipliers.append(torch.empty(0))
        else:
            weights.append(ops.pack_weight(torch.from_numpy(rng.integers(-128, 128, (outs, ins)).astype(np.int8))))
            multipliers.append(torch.zeros(round_up(outs, BLOCK_OUT)))
            multipliers[-1][:outs] = torch.from_numpy(rng.uniform(0.2, 3, outs) / (64 * ins**0.5))
        biases.append(torch.zeros(round_up(outs, BLOCK_OUT)))
        biases[-1][:outs] = torch.from_numpy(rng.normal(60, 40, outs))
        lowest.append(float(rng.choice([0, 7, 255])))
    if rng.random() < 0.5:
        lowest[-1] = -float("inf")
    if rng.random() < 0.5:
        x = numbers(rng, rows, widths[0])
        damage(rng, x)
    else:
        x = torch.from_numpy(rng.integers(0, 256, (rows, round_up(widths[0], BLOCK_IN))).astype(np.uint8))
    given = {"x": x, "weights": weights, "multipliers": multipliers, "biases": biases}
    given |= {"widths": widths, "lowest": lowest}
    given |= {"input_scales": (10.0 ** rng.uniform(-3, 3, layers)).tolist()}
    given |= {"input_zero_points": rng.integers(0, 256, layers).tolist()}
    given = misshapen(rng, given)
    # If two layers have errors, those of one block of rows are found before those of the next block.
    agree(rng, lambda: ops.quantized_mlp(**given), exact=not halves.any())


def packing(rng: Rng) -> None:
    """Pack rows of arbitrary float32 values."""
    values = numbers(rng, int(rng.integers(0, 40)), dimension(rng)) * float(10.0 ** rng.uniform(-44, 38))
    damage(rng, values)
    given = misshapen(rng, {"values": values})
    dtype = int(rng.choice([0, 1, 1, 0, 2, -1]))
    agree(rng, lambda: ops.pack_rows(given["values"], dtype), exact=True)


def ceilings(rng: Rng) -> None:
    """Call the measurements of the machine."""
    native = kernels_of(variant(rng))
    assert isinstance(native, NativeKernels)
    assert native.int8_peak(int(rng.integers(0, 300))) >= 0
    rows, indices = torch.ones(int(rng.integers(0, 300)), int(rng.integers(0, 200)), dtype=torch.uint8), None
    indices = torch.from_numpy(rng.integers(0, max(len(rows), 1), int(rng.integers(0, 400))))
    outside = not len(rows)
    if len(indices) and rng.random() < 0.3:
        indices[rng.integers(len(indices))] = int(rng.choice([*HUGE, len(rows)]))
        outside |= bool(((indices < 0) | (indices >= len(rows))).any())
    refused = False
    try:
        native.touch(rows, indices)
    except DLRMError:
        refused = True
    assert refused == ((outside and len(indices) > 0) or not rows.shape[1]), (rows.shape, indices)


TARGETS: tuple[Callable[[Rng], None], ...] = (lookups, cross, mlp, packing, ceilings)


def agree(rng: Rng, call: Callable[[], Any], *, exact: bool) -> None:
    """Check that the fallback and a variant give the same bits or the same error."""
    name, threads = variant(rng), torch.get_num_threads()
    found = {}
    try:
        torch.set_num_threads(2 if rng.random() < 0.1 else 1)
        for isa in ("fallback", name):
            os.environ["DLRM_PL_ISA"] = isa
            found[isa] = outcome(call)
    finally:
        os.environ.pop("DLRM_PL_ISA")
        torch.set_num_threads(threads)
    fallback, native = (found[isa] if exact else vague(found[isa]) for isa in ("fallback", name))
    assert fallback == native, f"{name} and the fallback differ: {str(native)[:300]} / {str(fallback)[:300]}"


def library_path() -> str:
    """Return the path of the native library that is called."""
    found = load_built("int8", VERSION, Path(kernels.__path__[0]))
    assert found is not None, "the native code was not built"
    return str(Path(found._name).parent)


def variant(rng: Rng) -> str:
    return str(rng.choice(available()[1:]))


def dimension(rng: Rng) -> int:
    return int(
        rng.choice([rng.integers(1, 70), rng.choice([127, 128, 129, 192, 255, 256, 257]), rng.integers(258, 1200)])
    )


def numbers(rng: Rng, rows: int, dim: int) -> Tensor:
    return torch.from_numpy(rng.normal(0, 3, (rows, dim)).astype(np.float32))


def table(rng: Rng, dtype: int, rows: int, dim: int, *, wild: bool) -> Tensor:
    """Return tables that are packed correctly or hold random bytes."""
    if dtype > 1:
        return numbers(rng, rows, dim).to((torch.float16, torch.float32)[dtype - 2])
    if wild:
        width = row_bytes(TABLE_DTYPES[dtype], dim)
        return torch.from_numpy(rng.integers(0, 256, (rows, width)).astype(np.uint8))
    return ops.pack_rows(numbers(rng, rows, dim), dtype)


def bags(rng: Rng, sizes: list[int], batch: int) -> tuple[Tensor, Tensor | None]:
    """Return indices for one row of each table per sample, or for bags of up to twenty rows."""
    if rng.random() < 0.5:
        rows = [rng.integers(0, size, batch) for size in sizes]
        return torch.from_numpy(np.array(rows, np.int64).reshape(len(sizes), batch)), None
    counts = rng.choice([0, 1, 1, 2, 3, 20], (len(sizes), batch))
    rows = [rng.integers(0, size, int(each.sum())) for size, each in zip(sizes, counts, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(counts.ravel())]).astype(np.int64)
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *rows])), torch.from_numpy(offsets)


def damage(rng: Rng, values: Tensor, indices: Tensor | None = None, offsets: Tensor | None = None) -> bool:
    """Sometimes change a number in one of the arguments; returns False if this may cause several errors."""
    chance = rng.random()
    if chance < 0.15 and values.numel():
        values.view(-1)[int(rng.integers(values.numel()))] = float(rng.choice(SPECIAL))
    elif chance < 0.3 and indices is not None and indices.numel():
        indices.view(-1)[int(rng.integers(indices.numel()))] = int(rng.choice([*HUGE, 49, 50]))
    elif chance < 0.45 and offsets is not None:
        place = int(rng.integers(len(offsets)))
        offsets[place] = int(rng.choice([*HUGE, 0, len(offsets), int(offsets[place]) - 1, int(offsets[place]) + 1]))
        return False
    return True


def misshapen(rng: Rng, given: dict[str, Any]) -> dict[str, Any]:
    """Sometimes give one of the arguments, or one item of a list, another shape or type."""
    if rng.random() > 0.2:
        return given
    name = str(rng.choice([key for key, value in given.items() if value is not None]))
    value = given[name]
    if not isinstance(value, list):
        return given | {name: reshaped(rng, value)}
    if not value or rng.random() < 0.3:
        return given | {name: value[:-1] if rng.random() < 0.5 else [*value, *value[:1]]}
    place = int(rng.integers(len(value)))
    other = reshaped(rng, value[place]) if isinstance(value[place], Tensor) else int(rng.choice([-1, 0, 4, 5, 70_000]))
    return given | {name: [*value[:place], other, *value[place + 1 :]]}


def reshaped(rng: Rng, tensor: Tensor) -> Tensor:
    """Return a tensor that is shorter, longer, flat, empty, strided, or of another type."""
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda each: each[:-1],
        lambda each: each[..., :-1],
        lambda each: torch.cat([each, each[:1]]),
        lambda each: each.flatten(),
        lambda each: each[None],
        lambda each: each[:0],
        lambda each: each[..., :0],
        lambda each: each[..., ::2],
        lambda each: each.repeat_interleave(2, dim=-1)[..., ::2],
        lambda each: each.transpose(0, -1),
        lambda each: each.double(),
        lambda each: each.int(),
        lambda each: each.to(torch.uint8),
    ]
    return ways[int(rng.integers(len(ways)))](tensor)
