"""Three losses of upstream (facebookresearch/dlrm), computed from logits."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["bce", "wbce", "mse"]


def click_loss(logits: Tensor, labels: Tensor, loss: Loss, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Compute the mean loss of a batch.

    Args:
        logits: float ``[B]``.
        labels: 0 or 1, ``[B]``.
        loss: ``bce``: binary cross-entropy; ``wbce``: the same with a weight for each class; ``mse``: squared error of
            the probability.
        weights: weights of a non-click and of a click, for ``wbce``.

    Returns:
        Scalar. Cross-entropy is computed from logits. This equals upstream's ``BCELoss`` of the sigmoid, except for
        logits beyond +-17, where a float32 sigmoid rounds to 0 or 1 and ``BCELoss`` jumps to 100 with no gradient.
        ``wbce`` divides by B, as upstream does, not by the sum of the weights.
    """
    if loss == "mse":
        return F.mse_loss(torch.sigmoid(logits), labels)
    weight = None
    if loss == "wbce":
        weight = torch.full_like(logits, weights[0]).masked_fill(labels == 1, weights[1])
    return F.binary_cross_entropy_with_logits(logits, labels, weight)
