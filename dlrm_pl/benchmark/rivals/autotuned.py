"""bf16 compiled by Inductor, which times several kernels for each Linear and uses the fastest."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dlrm_pl.benchmark.compilation import compile_for
from dlrm_pl.benchmark.contenders import BF16_ROUNDING, Contender
from dlrm_pl.benchmark.rivals.rival import Load, Rival


def rivals(floats: Sequence[Contender]) -> tuple[Rival, ...]:
    """Make the rival from the bf16 model of the float contenders."""

    def build() -> Load:
        half = next(contender.model for contender in floats if contender.name == "bf16_compiled")
        return lambda batch: compile_for(half, batch, max_autotune=True)

    label = "bf16 autotuned"
    return (
        Rival(
            "bf16_max_autotune",
            label,
            nn.Identity(),
            min_sqnr_db=20,
            rounding=BF16_ROUNDING,
            build=build,
            compiled=True,
        ),
    )
