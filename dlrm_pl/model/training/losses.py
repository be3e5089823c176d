"""The reference's three losses, from logits."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["bce", "wbce", "mse"]


def click_loss(logits: Tensor, labels: Tensor, loss: Loss, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Mean loss of a batch.

    Args:
        logits: float ``[B]``.
        labels: 0 or 1, ``[B]``.
        loss: ``bce``: binary cross-entropy; ``wbce``: the same with a weight for each class; ``mse``: squared error
            of the probability.
        weights: of non-clicks and of clicks, for ``wbce``.

    Returns:
        Scalar. Cross-entropy is computed from logits, which equals the reference's ``BCELoss`` of the sigmoid but for
        logits beyond +-17, where a float32 sigmoid rounds to 0 or 1 and ``BCELoss`` jumps to 100 with no gradient.
        ``wbce`` divides by B, as the reference does, not by the sum of the weights.
    """
    if loss == "mse":
        return F.mse_loss(torch.sigmoid(logits), labels)
    weight = None
    if loss == "wbce":
        weight = torch.full_like(logits, weights[0]).masked_fill(labels == 1, weights[1])
    return F.binary_cross_entropy_with_logits(logits, labels, weight)
