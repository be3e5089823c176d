"""Every variant of the int8 kernels that this machine has, against NumPy and bit by bit against the others."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrm_pl.errors import ConfigurationError, LookupIndexError, NonFiniteError, ShapeError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.rows import TABLE_DTYPES, round_up, row_bytes
from dlrm_pl.kernels.int8.selection import ISAS, available, isa, kernels_of
from tests.reference import int8 as reference

SLOW_CHECKS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@pytest.fixture(params=ISAS)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param not in available():
        pytest.skip(f"this machine has no {request.param}")
    monkeypatch.setenv("DLRM_PL_ISA", request.param)
    assert isa() == request.param
    return str(request.param)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_native_variants_were_built() -> None:
    assert "generic" in available()


# --- MLP


class Chain:
    """Random layers, for the op and for the reference."""

    def __init__(self, widths: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.layers = []
        self.weights, self.multipliers, self.biases, self.widths, self.lowest = [], [], [], [], []
        for ins, outs in pairwise(widths):
            weight = rng.integers(-128, 128, (outs, ins)).astype(np.int8)
            multiplier = (rng.uniform(0.2, 3.0, outs) / (64 * ins**0.5)).astype(np.float32)
            bias = rng.normal(60, 40, outs).astype(np.float32)
            lowest = float(rng.choice([0, 0, 7]))
            self.layers.append((weight, multiplier, bias, lowest))
            self.weights.append(ops.pack_weight(torch.from_numpy(weight)))
            self.multipliers.append(padded(multiplier))
            self.biases.append(padded(bias))
            self.widths.append(outs)
            self.lowest.append(lowest)

    def run(self, x: Tensor, scale: float = 1.0, zero_point: int = 0) -> Tensor:
        arguments = (self.weights, self.multipliers, self.biases, self.widths, self.lowest)
        result: Tensor = torch.ops.dlrm_pl.int8_mlp(x, scale, zero_point, *arguments)
        return result


def padded(values: np.ndarray) -> Tensor:
    result = torch.zeros(round_up(len(values), 16))
    result[: len(values)] = torch.from_numpy(values)
    return result


@SLOW_CHECKS
@given(
    widths=st.lists(st.integers(1, 150), min_size=2, max_size=4),
    rows=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
def test_mlp_equals_numpy(variant: str, widths: list[int], rows: int, seed: int) -> None:
    chain, rng = Chain(widths, seed), np.random.default_rng(seed)
    x = rng.normal(0, 3, (rows, widths[0])).astype(np.float32)
    expected = reference.mlp(reference.to_bytes(x, 0.031, 40), chain.layers)
    assert torch.equal(chain.run(torch.from_numpy(x), 0.031, 40), torch.from_numpy(expected))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31, 32, 33, 511, 513, 1100])
def test_every_last_block_of_rows(variant: str, two_threads: None, rows: int) -> None:
    chain = Chain([479, 65, 33, 1], 5)
    x = torch.randint(0, 256, (rows, 512), dtype=torch.uint8, generator=torch.Generator().manual_seed(rows))
    expected = reference.mlp(x[:, :479].numpy(), chain.layers)
    assert torch.equal(chain.run(x), torch.from_numpy(expected))


def test_largest_sums_do_not_saturate(variant: str) -> None:
    weight = np.full((16, 1024), 127, np.int8)
    weight[8:] = -128
    ones = np.ones(16, np.float32)
    arguments = ([ops.pack_weight(torch.from_numpy(weight))], [padded(ones)], [torch.zeros(16)], [16], [-torch.inf])
    out = torch.ops.dlrm_pl.int8_mlp(torch.full((3, 1024), 255, dtype=torch.uint8), 1.0, 0, *arguments)
    assert out.tolist() == [[255.0 * 127 * 1024] * 8 + [255.0 * -128 * 1024] * 8] * 3


def test_halves_round_to_even(variant: str) -> None:
    weight = torch.eye(4, dtype=torch.int8)
    layer = ([ops.pack_weight(weight)], [padded(np.ones(4, np.float32))], [torch.zeros(16)], [4], [0.0])
    x = torch.tensor([[0.5, 1.5, 2.5, 3.5], [-9.0, 254.5, 255.5, 1e9]])
    out = torch.ops.dlrm_pl.int8_mlp(x, 1.0, 0, *layer)
    assert out.tolist() == [[0.0, 2.0, 2.0, 4.0], [0.0, 254.0, 255.0, 255.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_mlp_names_what_is_not_finite(variant: str, two_threads: None, bad: float) -> None:
    x = torch.zeros(100, 13)
    x[77, 5] = bad
    x[93, 2] = bad
    with pytest.raises(NonFiniteError, match="sample 77: feature 5"):
        Chain([13, 20], 0).run(x)


# --- Lookups and interaction


class Lookups:
    """Random tables and bags, for the ops and for the reference."""

    def __init__(self, dtypes: list[str], dim: int, batch: int, seed: int, *, multi_hot: bool) -> None:
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        self.names, self.dtypes, self.dim, self.batch = dtypes, [TABLE_DTYPES.index(d) for d in dtypes], dim, batch
        self.sizes = [int(rng.integers(1, 40)) for _ in dtypes]
        self.tables = []
        for dtype, rows in zip(dtypes, self.sizes, strict=True):
            values = torch.randn(rows, dim, generator=generator) * 10 ** float(rng.uniform(-3, 1))
            values[0] = 0.0
            self.tables.append(pack(values, dtype))
        counts = rng.integers(0, 4, (len(dtypes), batch)) if multi_hot else np.ones((len(dtypes), batch), np.int64)
        self.bags = [
            [rng.integers(0, size, count).tolist() for count in row]
            for size, row in zip(self.sizes, counts, strict=True)
        ]
        flat = [index for table in self.bags for bag in table for index in bag]
        self.indices = torch.tensor(flat, dtype=torch.int64)
        self.offsets: Tensor | None = torch.from_numpy(np.concatenate([[0], np.cumsum(counts.ravel())]))
        if not multi_hot:
            self.indices, self.offsets = self.indices.view(len(dtypes), batch), None
        self.dense = torch.randn(batch, dim, generator=generator)

    def rows(self, sample: int) -> list[tuple[list[np.ndarray], str]]:
        return [
            ([table[index].numpy() for index in bags[sample]], dtype)
            for table, bags, dtype in zip(self.tables, self.bags, self.names, strict=True)
        ]

    def interact(self, diagonal: bool = False, scale: float | None = None, zero_point: int = 0) -> Tensor:
        result: Tensor = torch.ops.dlrm_pl.lookup_interaction(
            self.dense, self.indices, self.offsets, self.tables, self.dtypes, diagonal, scale, zero_point
        )
        return result

    def pool(self) -> Tensor:
        result: Tensor = torch.ops.dlrm_pl.lookup(
            self.indices, self.offsets, self.tables, self.dtypes, self.dim, self.batch
        )
        return result


def pack(values: Tensor, dtype: str) -> Tensor:
    if dtype == "fp32":
        return values
    return values.half() if dtype == "fp16" else torch.ops.dlrm_pl.pack_rows(values, TABLE_DTYPES.index(dtype))


@SLOW_CHECKS
@given(
    dtypes=st.lists(st.sampled_from(TABLE_DTYPES), max_size=6),
    dim=st.sampled_from([1, 8, 15, 16, 64, 65, 128, 200, 256]),
    batch=st.integers(1, 50),
    seed=st.integers(0, 2**16),
    multi_hot=st.booleans(),
    diagonal=st.booleans(),
    scale=st.sampled_from([None, 0.05, 3.0]),
)
def test_interaction_equals_numpy(
    variant: str, dtypes: list[str], dim: int, batch: int, seed: int, multi_hot: bool, diagonal: bool, scale: float
) -> None:
    lookups = Lookups(dtypes, dim, batch, seed, multi_hot=multi_hot)
    result = lookups.interact(diagonal, scale, 30).numpy()
    for sample in range(0, batch, 7):
        expected = reference.interaction(lookups.dense[sample].numpy(), lookups.rows(sample), diagonal, scale, 30)
        np.testing.assert_array_equal(result[sample, : len(expected)], expected)
        assert not result[sample, len(expected) :].any()


@pytest.mark.parametrize("count", [15, 16, 26, 31, 32, 48, 64])
@pytest.mark.parametrize("dim", [8, 128, 256])
def test_interaction_of_any_number_of_tables(variant: str, two_threads: None, count: int, dim: int) -> None:
    lookups = Lookups(["int8"] * count, dim, 45, count, multi_hot=False)
    result = lookups.interact(scale=0.3, zero_point=9).numpy()
    for sample in (0, 44):
        expected = reference.interaction(lookups.dense[sample].numpy(), lookups.rows(sample), False, 0.3, 9)
        np.testing.assert_array_equal(result[sample, : len(expected)], expected)


@SLOW_CHECKS
@given(
    dtypes=st.lists(st.sampled_from(TABLE_DTYPES), min_size=1, max_size=4),
    dim=st.sampled_from([1, 8, 15, 128]),
    batch=st.integers(1, 20),
    seed=st.integers(0, 2**16),
    multi_hot=st.booleans(),
)
def test_lookup_equals_numpy(variant: str, dtypes: list[str], dim: int, batch: int, seed: int, multi_hot: bool) -> None:
    lookups = Lookups(dtypes, dim, batch, seed, multi_hot=multi_hot)
    result = lookups.pool()
    for sample in range(batch):
        for table, (rows, dtype) in enumerate(lookups.rows(sample)):
            np.testing.assert_array_equal(result[sample, table].numpy(), reference.bag_sum(rows, dtype, dim))


@pytest.mark.parametrize("dim", [257, 300, 1000, 1024, 1025, 4096, 5001])
def test_wide_rows_are_looked_up_as_by_the_fallback(variant: str, monkeypatch: pytest.MonkeyPatch, dim: int) -> None:
    for multi_hot in (False, True):
        lookups = Lookups([*TABLE_DTYPES, "int8"], dim, 9, dim, multi_hot=multi_hot)
        found = [lookups.pool(), lookups.interact(), lookups.interact(diagonal=True, scale=20.0, zero_point=30)]
        expected = reference.interaction(lookups.dense[4].numpy(), lookups.rows(4), True, 20.0, 30)
        np.testing.assert_array_equal(found[2][4, : len(expected)].numpy(), expected)
        for table, (rows, dtype) in enumerate(lookups.rows(4)):
            np.testing.assert_array_equal(found[0][4, table].numpy(), reference.bag_sum(rows, dtype, dim))
        with monkeypatch.context() as patch:
            patch.setenv("DLRM_PL_ISA", "fallback")
            expected = [lookups.pool(), lookups.interact(), lookups.interact(diagonal=True, scale=20.0, zero_point=30)]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dim", [1023, 4095, 32_768])
@pytest.mark.parametrize("value", [127, -128])
def test_products_of_the_widest_rows_are_rounded_once(variant: str, dim: int, value: int) -> None:
    rows = torch.full((1, dim + 4), value % 256, dtype=torch.uint8)
    rows[0, dim:] = torch.ones(1).view(torch.uint8)  # The scale.
    arguments = (torch.full((1, dim), 3.0), torch.zeros(2, 1, dtype=torch.int64), None, [rows, rows], [0, 0])
    pairs = torch.ops.dlrm_pl.lookup_interaction(*arguments, False, None, 0)[0, dim:].tolist()
    with_dense = np.float32(127 * value * dim) * (np.float32(3) / np.float32(127))
    assert pairs == [with_dense, with_dense, np.float32(value * value * dim)]


def test_bags_of_one_are_as_one_hot(variant: str) -> None:
    lookups = Lookups(["int8", "int4", "fp16"], 32, 40, 3, multi_hot=False)
    expected = lookups.interact(scale=0.1)
    lookups.indices, lookups.offsets = lookups.indices.flatten(), torch.arange(3 * 40 + 1)
    assert torch.equal(lookups.interact(scale=0.1), expected)


def test_a_part_of_a_batch_is_read_without_a_copy(variant: str) -> None:
    lookups = Lookups(["int8"] * 5, 16, 90, 1, multi_hot=False)
    whole = lookups.interact()
    lookups.dense, lookups.indices = lookups.dense[20:71], lookups.indices[:, 20:71]
    assert lookups.indices.stride() == (90, 1)
    assert torch.equal(lookups.interact(), whole[20:71])


def test_an_empty_batch(variant: str) -> None:
    lookups = Lookups(["int8"] * 2, 8, 0, 1, multi_hot=False)
    assert lookups.interact().shape == (0, 11)
    assert lookups.pool().shape == (0, 2, 8)
    assert Chain([13, 4], 0).run(torch.zeros(0, 13)).shape == (0, 4)


@pytest.mark.parametrize("value", [-1, 2**40, "rows"])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_index_outside_its_table_is_named(variant: str, two_threads: None, value: object, multi_hot: bool) -> None:
    lookups = Lookups(["int8", "int8", "int4"], 128, 300, 8, multi_hot=multi_hot)
    index = lookups.sizes[1] if value == "rows" else value
    assert isinstance(index, int)
    place, sample = 300 + 211, 211
    if lookups.offsets is not None:
        while lookups.offsets[place] == lookups.offsets[place + 1]:
            place, sample = place + 1, sample + 1
        place = int(lookups.offsets[place])
    lookups.indices.view(-1)[place] = index
    for call in (lookups.interact, lookups.pool):
        with pytest.raises(LookupIndexError, match=rf"sample {sample}: row {index} of table 1 .* 0 to"):
            call()


@pytest.mark.parametrize("change", [(5, -1), (5, 10**6), (6, 0)])
def test_offsets_out_of_order_are_named(variant: str, change: tuple[int, int]) -> None:
    lookups = Lookups(["int8", "fp32"], 8, 20, 2, multi_hot=True)
    assert lookups.offsets is not None
    lookups.offsets[change[0]] = change[1]
    for call in (lookups.interact, lookups.pool):
        with pytest.raises(LookupIndexError, match=r"sample [3-6]: its bag of table 0"):
            call()


def test_interaction_names_what_is_not_finite(variant: str, two_threads: None) -> None:
    lookups = Lookups(["int8", "fp32"], 8, 200, 2, multi_hot=False)
    lookups.dense[133, 3] = float("nan")
    with pytest.raises(NonFiniteError, match="sample 133: the bottom MLP's output"):
        lookups.interact()


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_a_packed_row_whose_scale_is_not_finite_is_named(variant: str, dtype: str, multi_hot: bool) -> None:
    lookups = Lookups(["int8", dtype], 8, 60, 4, multi_hot=multi_hot)
    lookups.tables[1][:, 4 if dtype == "int4" else 8 :] = 255  # The bits of a NaN.
    with pytest.raises(NonFiniteError, match=r"sample \d+: the sum of its rows of table 1 is NaN or infinite"):
        lookups.interact(scale=0.1)


# --- Packing


@SLOW_CHECKS
@given(
    dtype=st.sampled_from(["int8", "int4"]),
    rows=st.integers(1, 20),
    dim=st.integers(1, 70),
    exponent=st.integers(-40, 30),
    seed=st.integers(0, 2**16),
)
def test_packing_is_within_half_a_step(variant: str, dtype: str, rows: int, dim: int, exponent: int, seed: int) -> None:
    values = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) * 10.0**exponent
    values[0] = 0.0
    packed = pack(values, dtype)
    assert packed.shape == (rows, row_bytes(dtype, dim))  # type: ignore[arg-type]
    unpacked = np.stack([reference.bag_sum([row.numpy()], dtype, dim) for row in packed])
    span = (
        values.abs().amax(1) / 127
        if dtype == "int8"
        else (values.amax(1).clamp_min(0) - values.amin(1).clamp_max(0)) / 15
    )
    # Half a step; for int4 another half where the zero point is not a whole step, and 1/128 of bfloat16.
    allowed = span * (0.5001 if dtype == "int8" else 1.02) + 2e-29  # What is smaller is taken as 0.
    assert ((torch.from_numpy(unpacked) - values).abs() <= allowed[:, None]).all()
    assert torch.equal(packed, pack_with("fallback", values, dtype))


def pack_with(name: str, values: Tensor, dtype: str) -> Tensor:
    out = torch.empty(len(values), row_bytes(dtype, values.shape[1]), dtype=torch.uint8)  # type: ignore[arg-type]
    assert kernels_of(name).pack(values, dtype, out) is None  # type: ignore[arg-type]
    return out


def test_packing_names_the_row_that_is_not_finite(variant: str) -> None:
    values = torch.zeros(5000, 8)
    values[4321, 7] = float("inf")
    with pytest.raises(NonFiniteError, match="row 4321 holds"):
        pack(values, "int8")


# --- Wrong use


def test_wrong_shapes_and_types_are_refused() -> None:
    lookups, chain = Lookups(["int8", "int8"], 8, 4, 2, multi_hot=False), Chain([13, 4, 1], 0)
    good = (lookups.dense, lookups.indices, None, lookups.tables, [0, 0], False, None, 0)

    def refused(message: str, **changes: object) -> None:
        names = ("dense", "indices", "offsets", "tables", "dtypes", "diagonal", "output_scale", "output_zero_point")
        with pytest.raises(ShapeError, match=message):
            ops.lookup_interaction(**(dict(zip(names, good, strict=True)) | changes))  # type: ignore[arg-type]

    refused("float32 dense vector", dense=lookups.dense.double())
    refused(r"indices \[T, B\] = \[2, 4\], got \[4, 2\]", indices=lookups.indices.T)
    refused("must be int64", indices=lookups.indices.int())
    refused("rows of dim 8 have 12 bytes", tables=[table[:, :11] for table in lookups.tables])
    refused("table 0: fp16 rows of dim 8 have 16 bytes", dtypes=[2, 0])
    refused(
        "3 offsets, got|9 offsets, got",
        offsets=torch.zeros(3, dtype=torch.int64),
        indices=torch.zeros(2, dtype=torch.int64),
    )
    refused("up to 64 tables", tables=lookups.tables * 33, dtypes=[0] * 66)
    with pytest.raises(ShapeError, match="float32 or uint8"):
        chain.run(torch.zeros(3, 13, dtype=torch.float64))
    with pytest.raises(ShapeError, match="padded to 64"):
        chain.run(torch.zeros(3, 13, dtype=torch.uint8))
    with pytest.raises(ShapeError, match="layer 0: 99 inputs"):
        chain.run(torch.zeros(3, 99))


def test_inputs_that_are_not_contiguous_give_the_same(variant: str) -> None:
    lookups, chain = Lookups(["int8"] * 3, 16, 30, 2, multi_hot=False), Chain([13, 4], 0)
    expected, x = lookups.interact(), torch.rand(13, 30).T
    lookups.indices, lookups.dense = lookups.indices.T.contiguous().T, lookups.dense.T.contiguous().T
    assert torch.equal(lookups.interact(), expected)
    assert torch.equal(chain.run(x, 0.01), chain.run(x.contiguous(), 0.01))


@pytest.mark.parametrize("name", ["sse9", "Amx"])
def test_an_unknown_isa_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", name)
    with pytest.raises(ConfigurationError, match=f"DLRM_PL_ISA='{name}': must be one of fallback, generic"):
        isa()


@pytest.mark.parametrize(("earlier", "name"), [("twin", "fallback"), ("portable", "generic")])
def test_an_earlier_name_of_an_isa_is_read_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, earlier: str, name: str
) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", earlier)
    kernels_of.cache_clear()
    assert isa() == isa() == name
    assert caplog.messages == [
        f"DLRM_PL_ISA={earlier} is now called {name}; the old name is accepted in this version only"
    ]


def test_an_isa_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", "amx_int8")
    kernels_of.cache_clear()
    monkeypatch.setattr("dlrm_pl.kernels.int8.selection.available", lambda: ("fallback", "generic"))
    with pytest.raises(
        ConfigurationError, match="amx_int8: this processor or this installation has only fallback, gene"
    ):
        isa()
    kernels_of.cache_clear()


# --- Threads and processes


def test_threads_that_call_at_once_do_not_disturb_each_other(two_threads: None) -> None:
    lookups = [Lookups(["int8"] * 5, 128, 700, seed, multi_hot=False) for seed in range(4)]
    chains = [Chain([13, 100, 50], seed) for seed in range(4)]
    x = torch.rand(700, 13)
    expected = [(one.interact(scale=0.1), chain.run(x, 0.01)) for one, chain in zip(lookups, chains, strict=True)]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            pairs, out = lookups[number].interact(scale=0.1), chains[number].run(x, 0.01)
            if not torch.equal(pairs, expected[number][0]) or not torch.equal(out, expected[number][1]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_number_of_threads_changes_no_bit(two_threads: None) -> None:
    lookups, chain, x = (
        Lookups(["int8"] * 26, 128, 999, 1, multi_hot=False),
        Chain([13, 512, 16], 1),
        torch.rand(999, 13),
    )
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        results.append((lookups.interact(scale=0.1), chain.run(x, 0.01)))
    for pairs, out in results[1:]:
        assert torch.equal(pairs, results[0][0])
        assert torch.equal(out, results[0][1])


FORK = """
import os, sys, torch
from dlrm_pl.kernels.int8 import ops
torch.set_num_threads(2)
tables = [torch.ops.dlrm_pl.pack_rows(torch.rand(50, 16), 0)] * 3
arguments = torch.rand(500, 16), torch.randint(0, 50, (3, 500)), None, tables, [0] * 3, False, None, 0
expected = torch.ops.dlrm_pl.lookup_interaction(*arguments)
child = os.fork()
if not child:
    os._exit(0 if torch.equal(torch.ops.dlrm_pl.lookup_interaction(*arguments), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_computes_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], timeout=250, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0
    assert multiprocessing.get_start_method(allow_none=True) in (None, "fork", "spawn", "forkserver")


# --- Tracing


def test_ops_pass_the_checks_of_torch_library() -> None:
    lookups, chain = Lookups(["int8", "int4"], 16, 5, 0, multi_hot=False), Chain([13, 7], 0)
    for op, arguments in (
        (
            torch.ops.dlrm_pl.lookup_interaction,
            (lookups.dense, lookups.indices, None, lookups.tables, [0, 1], False, 0.1, 3),
        ),
        (torch.ops.dlrm_pl.lookup, (lookups.indices, None, lookups.tables, [0, 1], 16, 5)),
        (torch.ops.dlrm_pl.pack_rows, (torch.rand(4, 8), 0)),
        (
            torch.ops.dlrm_pl.int8_mlp,
            (torch.rand(5, 13), 0.1, 0, chain.weights, chain.multipliers, chain.biases, chain.widths, chain.lowest),
        ),
    ):
        torch.library.opcheck(op.default, arguments, test_utils=("test_schema", "test_faketensor"))
