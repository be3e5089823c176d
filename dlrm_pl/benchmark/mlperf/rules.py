"""MLPerf's rules for its two models, DLRM (inference up to 3.0) and DLRM-DCNv2 (3.1 to 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlrm_pl.model.architecture import Architecture

Version = Literal["v1", "v2"]
REQUIRED_SHARE = 0.999
"""Share of fp32's AUROC that the stricter of MLPerf's two categories requires."""


@dataclass(frozen=True)
class Rules:
    """Numbers in the rules for a model.

    Attributes:
        version: version of the model.
        server_latency_s: latency bound that 99 % of the server's responses must meet.
        fp32_auroc: AUROC of MLPerf's own model on its rows.

    Source: mlcommons/inference, mlperf.conf and its submission checker.
    """

    version: Version
    server_latency_s: float
    fp32_auroc: float

    @property
    def needed_auroc(self) -> float:
        """AUROC that MLPerf's own model must reach in a submission."""
        return REQUIRED_SHARE * self.fp32_auroc


RULES: dict[Version, Rules] = {"v1": Rules("v1", 0.030, 0.8025), "v2": Rules("v2", 0.060, 0.8031)}
SUBMISSION_SAMPLES = 204_800
"""Number of samples that a submission has in memory at a time, MLPerf's performance sample count."""


def rules_of(architecture: Architecture, version: Version | None = None) -> Rules:
    """Return the rules of a version; by default those for the model: v2 if it has a cross network."""
    return RULES[version or ("v2" if architecture.interaction == "dcn" else "v1")]
