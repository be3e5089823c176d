"""Which variant of the native training step DLRM_PL_ISA allows."""

from __future__ import annotations

import pytest
import torch

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import level_in_use, levels, training_isa
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from tests.support.native.native_steps import Trained, a_batch

pytestmark = pytest.mark.skipif(not levels("fp32"), reason="native training code was not built")

SHAPE = Architecture((30, 4, 1000), 16, (13, 40, 16), (50, 33, 1))
# DLRM_PL_ISA -> the number of the fastest variant that it allows.
HIGHEST = {"generic": 0, "avx2": 1, "avx512_vnni": 3, "amx_int8": 4, "neon_i8mm": 0, "portable": 0, "": 4}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", HIGHEST)
def test_a_limit_chooses_the_fastest_variant_that_it_allows(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", name)
    known = levels(precision)  # type: ignore[arg-type]
    expected = max(level for level in known if level <= HIGHEST[name])
    assert level_in_use(precision) == expected  # type: ignore[arg-type]
    assert training_isa(precision) == known[expected]  # type: ignore[arg-type]
    torch.manual_seed(5)
    model, batch = DLRM(SHAPE), a_batch(SHAPE, 37, 1)
    chosen, given = Trained(model, precision=precision), Trained(model, precision=precision, level=expected)
    assert chosen.native.isa == known[expected]
    assert chosen.step(batch, Rates(1.0)) == given.step(batch, Rates(1.0))
    assert all(torch.equal(a, b) for a, b in zip(chosen.weights(), given.weights(), strict=True))


def test_fallback_leaves_training_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    assert level_in_use("fp32") is None
    assert training_isa("bf16") is None
    with pytest.raises(LookupError, match="no native training step for fp32"):
        Trained(DLRM(SHAPE))


def test_a_name_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRM_PL_ISA", "avx3")
    with pytest.raises(ConfigurationError, match=r"DLRM_PL_ISA='avx3' must be one of fallback, generic"):
        level_in_use("fp32")
