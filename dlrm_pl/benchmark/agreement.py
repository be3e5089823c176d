"""Check that a contender computes the same model before it is timed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dlrm_pl.benchmark.contenders import Contender
from dlrm_pl.errors import VerificationError


def sqnr_db(expected: Tensor, found: Tensor) -> float:
    """Return the variance of the expected logits over the mean squared error, in dB; inf if they are equal."""
    error = (found.double() - expected.double()).square().mean()
    return float(10 * torch.log10(expected.double().var(correction=0) / error)) if error else math.inf


def check_agreement(contender: Contender, expected: Tensor, found: Tensor) -> float:
    """Compare logits with those of fp32 eager.

    Returns:
        Signal-to-noise ratio in dB.

    Raises:
        VerificationError: the logits have another shape, are not finite, or differ by more than the contender's dtypes
            explain.
    """
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        raise VerificationError(
            f"{contender.label}: gave {list(found.shape)} logits, finite: {bool(torch.isfinite(found).all())}; fp32 "
            f"gives {list(expected.shape)}. It is not the same model, so it is not timed."
        )
    reference = expected.double()
    error = float((found.double() - reference).square().mean().sqrt())
    # If logits are far from 0 but close to each other, rounding each of them can hide their differences.
    spread = float(reference.std(correction=0)) * 10 ** (-contender.min_sqnr_db / 20)
    allowed = spread + contender.rounding * float(reference.square().mean().sqrt())
    if error > allowed:
        raise VerificationError(
            f"{contender.label}: its logits differ from those of fp32 by {error:.3g} (root mean square), "
            f"{allowed:.3g} is what its dtypes explain. It is not the same model, so it is not timed."
        )
    return sqnr_db(expected, found)
