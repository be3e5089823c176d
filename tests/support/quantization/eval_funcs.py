"""Users' own scores, for configurations that name them by class path."""

from __future__ import annotations

import torch


class PenaltyForTop:
    """A user's score: every int8 Linear of the top MLP costs the same."""

    def __init__(self, cost: float) -> None:
        self.cost = cost

    def __call__(self, model: torch.nn.Module) -> float:
        dtypes: dict[str, str] = getattr(model, "op_dtypes", {})
        return 0.9 - self.cost * sum(dtype == "int8" for op, dtype in dtypes.items() if op.startswith("top_mlp"))
