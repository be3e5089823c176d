"""Performance ceilings of this machine, and the roofline of a model below them."""

import pytest

from benchmarks.ceilings import Ceilings, ceilings, linear_operations, roofline
from dlrm_pl.kernels.int8.selection import available
from dlrm_pl.model.architecture import Architecture

MLPERF = Architecture(
    table_sizes=(10,) * 26, embedding_dim=128, bottom_mlp=(13, 512, 256, 128), top_mlp=(1024, 1024, 512, 256, 1)
)


def test_operations_of_mlperfs_shape() -> None:
    macs = 13 * 512 + 512 * 256 + 256 * 128 + 479 * 1024 + 1024 * 1024 + 1024 * 512 + 512 * 256 + 256
    assert linear_operations(MLPERF) == 2 * macs


def test_roofline_is_the_slower_of_arithmetic_and_lookups() -> None:
    operations, tables = linear_operations(MLPERF), 26
    fast_lookups = Ceilings(int8_ops_per_s=100.0 * operations, rows_per_s=1e12)
    assert roofline(MLPERF, fast_lookups, 2) == pytest.approx(200)
    slow_lookups = Ceilings(int8_ops_per_s=1e30, rows_per_s=50.0 * tables)
    assert roofline(MLPERF, slow_lookups, 1) == pytest.approx(50)


@pytest.mark.parametrize("name", available())
def test_ceilings_are_of_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", name)
    found = ceilings(50_000, 132)
    if name == "fallback":
        assert found is None
        return
    assert found is not None
    # Between a slow scalar core and the fastest matrix unit.
    assert 1e8 < found.int8_ops_per_s < 1e14
    assert 1e5 < found.rows_per_s < 1e10
