"""Cross network of DLRM v2: low-rank layers that multiply the vectors with themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn


class CrossLayer(nn.Module):
    """One layer of the cross network: ``x0 * (W (V x) + b) + x``.

    Args:
        width: width W of the vectors that it reads and returns.
        rank: rank R of its weights, ``v`` ``[R, W]`` without a bias and ``w`` ``[W, R]``.

    Source: Wang et al. 2021, "DCN V2", arXiv:2008.13535, equation 2. Weights are initialized as in TorchRec's
    ``LowRankCrossNet``: by Xavier's normal distribution, with zeros for the bias.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.v = nn.Linear(width, rank, bias=False)
        self.w = nn.Linear(rank, width)
        # TorchRec initializes W before V.
        if not self.w.weight.is_meta:  # As in ``build_mlp``.
            nn.init.xavier_normal_(self.w.weight)
            nn.init.xavier_normal_(self.v.weight)
            nn.init.zeros_(self.w.bias)

    def forward(self, first: Tensor, x: Tensor) -> Tensor:
        """Compute the layer.

        Args:
            first: input ``x0`` of the first layer, float ``[B, W]``.
            x: output of the previous layer, float ``[B, W]``.

        Returns:
            float ``[B, W]``.
        """
        crossed: Tensor = first * self.w(self.v(x)) + x
        return crossed


class CrossNet(nn.Sequential):
    """The cross network: layers that each read the vectors and the output of the previous layer.

    Args:
        layers: the layers in order; each is called like a ``CrossLayer``.

    Example:
        >>> import torch
        >>> from dlrm_pl.model.cross_net import CrossNet
        >>> CrossNet.of(width=24, rank=4, count=3)(torch.zeros(2, 24)).shape
        torch.Size([2, 24])
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__(*layers)

    @classmethod
    def of(cls, *, width: int, rank: int, count: int) -> CrossNet:
        """Make ``count`` layers with initial weights."""
        return cls(CrossLayer(width, rank) for _ in range(count))

    @property
    def layers(self) -> list[CrossLayer]:
        """Layers in order."""
        return [cast(CrossLayer, layer) for layer in self.children()]

    def forward(self, first: Tensor) -> Tensor:
        """Compute all layers: float ``[B, W]`` -> ``[B, W]``."""
        x = first
        for layer in self.children():
            x = layer(first, x)
        return x
