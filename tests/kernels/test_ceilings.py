import pytest

from dlrm_pl.kernels.int8.ceilings import ceilings
from dlrm_pl.kernels.int8.selection import available


@pytest.mark.parametrize("name", available())
def test_ceilings_are_of_the_kernels_in_use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", name)
    found = ceilings(50_000, 132)
    if name == "fallback":
        assert found is None
        return
    assert found is not None
    # Between what a slow scalar core and the fastest matrix unit do.
    assert 1e8 < found.int8_ops_per_s < 1e14
    assert 1e5 < found.rows_per_s < 1e10
