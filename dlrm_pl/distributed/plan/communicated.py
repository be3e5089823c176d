"""Dtypes of the values that processes send each other, by name."""

from __future__ import annotations

from typing import Literal

Communication = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
"""Dtype in which embeddings and their gradients are sent; tables, sums and optimizers keep fp32."""
