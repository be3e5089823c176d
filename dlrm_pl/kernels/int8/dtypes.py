"""Dtypes of the layers of a quantized model that are not int8 Linears, for code that runs without torch."""

from __future__ import annotations

from typing import Literal

FloatDtype = Literal["bf16", "fp32"]
"""Dtype of a float Linear."""

InteractionDtype = Literal["int8", "bf16", "fp32"]
"""Dtype of the interaction."""
