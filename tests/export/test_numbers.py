"""The numbers extracted from a model for an export, and models that are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.export.numbers import numbers_of
from tests.support import tiny
from tests.support.quantization.int8_models import lowered


def test_bf16_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"bottom_mlp\.0, .* are bf16, whose sums .* Quantize"):
        numbers_of(lowered(linears="bf16"))
    crossed = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=3)
    with pytest.raises(ConfigurationError, match=r"^cross_net\.1\.v is bf16"):
        numbers_of(lowered(crossed, {"cross_net.1.v": "bf16"}))


@pytest.mark.parametrize("dtype", ["int8", "int4", "fp16", "fp32"])
def test_parts_of_a_table_are_read_in_blocks(dtype: str) -> None:
    for table in numbers_of(lowered(tables=dtype)).tables:
        for part in table.parts:
            whole = part.whole()
            assert whole.shape == part.shape
            assert whole.dtype == part.dtype
            assert whole.nbytes == part.nbytes
            blocks = [part.read(start, min(start + 3, part.shape[0])) for start in range(0, part.shape[0], 3)]
            assert all(block.flags.c_contiguous for block in blocks)
            np.testing.assert_array_equal(np.concatenate(blocks), whole)
