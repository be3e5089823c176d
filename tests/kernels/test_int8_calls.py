"""How the ops are called: shapes, named variants, threads and forks."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

import pytest
import torch

from dlrm_pl.errors import ConfigurationError, ShapeError
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.selection import isa, kernels_of
from tests.support.native.kernels import Chain, Lookups


def test_wrong_shapes_and_types_are_refused() -> None:
    lookups, chain = Lookups(["int8", "int8"], 8, 4, 2, multi_hot=False), Chain([13, 4, 1], 0)
    good = (lookups.dense, lookups.indices, None, lookups.tables, [0, 0], False, None, 0)

    def refused(message: str, **changes: object) -> None:
        names = ("dense", "indices", "offsets", "tables", "dtypes", "diagonal", "output_scale", "output_zero_point")
        with pytest.raises(ShapeError, match=message):
            ops.lookup_interaction(**(dict(zip(names, good, strict=True)) | changes))  # type: ignore[arg-type]

    refused("float32 dense vector", dense=lookups.dense.double())
    refused(r"indices of shape \[T, B\] = \[2, 4\], got \[4, 2\]", indices=lookups.indices.T)
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
    with pytest.raises(ShapeError, match=r"packed for 13 inputs, got \[3, 99\]"):
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
    with pytest.raises(ConfigurationError, match=f"DLRM_PL_ISA='{name}' must be one of fallback, generic"):
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
        ConfigurationError, match="amx_int8: this processor and installation can only run fallback, gene"
    ):
        isa()
    kernels_of.cache_clear()


def test_threads_that_call_at_once_do_not_disturb_each_other(two_threads: None) -> None:
    lookups = [Lookups(["int8"] * 5, 128, 300, seed, multi_hot=False) for seed in range(4)]
    chains = [Chain([13, 100, 50], seed) for seed in range(4)]
    x = torch.rand(300, 13)
    expected = [(one.interact(scale=0.1), chain.run(x, 0.01)) for one, chain in zip(lookups, chains, strict=True)]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):  # Each takes a second in plain C++ under the sanitizers.
            pairs, out = lookups[number].interact(scale=0.1), chains[number].run(x, 0.01)
            if not torch.equal(pairs, expected[number][0]) or not torch.equal(out, expected[number][1]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("rows", [8, 15, 16, 17, 21, 47, 63, 130, 999])
def test_the_number_of_threads_changes_no_bit(two_threads: None, rows: int) -> None:
    lookups, chain, x = (
        Lookups(["int8"] * 26, 128, rows, 1, multi_hot=False),
        Chain([13, 512, 16], 1),
        torch.rand(rows, 13),
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


@pytest.mark.slow
def test_a_forked_child_computes_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], timeout=250, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0
    assert multiprocessing.get_start_method(allow_none=True) in (None, "fork", "spawn", "forkserver")


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
            torch.ops.dlrm_pl.quantized_mlp,
            (torch.rand(5, 13), *chain.arguments(0.1)),
        ),
    ):
        torch.library.opcheck(op.default, arguments, test_utils=("test_schema", "test_faketensor"))
