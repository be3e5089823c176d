"""Read loadgen's accuracy log as MLPerf's script does, and compare its AUROC with fp32's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlrm_pl.benchmark.mlperf.rules import REQUIRED_SHARE, Rules
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import VerificationError
from dlrm_pl.metrics.ranking import exact_auroc

FILE_NAME = "mlperf_log_accuracy.json"
_LARGEST_LOG = 8 << 30  # The 89 million pairs of MLPerf's rows take 1.5 GB.


@dataclass(frozen=True)
class Accuracy:
    """AUROC of the logged responses.

    The responses are float32 probabilities, as MLPerf's script reads them. All logits above 17 give the same
    probability, and such ties count against the log, as they would in MLPerf's script.

    Attributes:
        auroc: AUROC of the log.
        fp32_auroc: AUROC of the float model on the same pairs.
        share: ``auroc`` divided by ``fp32_auroc``.
        passed: whether the share is at least 99.9 %.
        samples: number of samples in the log.
        pairs: number of pairs in the log.
        mlperf_auroc: AUROC that the rules require from MLPerf's own model on its rows; another model or other rows need
            not reach it.
        reaches_mlperf: whether the log reaches ``mlperf_auroc``.
    """

    auroc: float
    fp32_auroc: float
    share: float
    passed: bool
    samples: int
    pairs: int
    mlperf_auroc: float
    reaches_mlperf: bool

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return asdict(self)


def read_answers(path: Path) -> dict[int, npt.NDArray[np.float32]]:
    """Return the responses by sample number: float32 ``[pairs, 2]`` of probability and label; duplicates once.

    Source: mlcommons/inference, recommendation/dlrm/pytorch/tools/accuracy-dlrm.py.

    Raises:
        VerificationError: a response does not consist of pairs of two floats.
    """
    answers: dict[int, npt.NDArray[np.float32]] = {}
    for entry in read_json(path, VerificationError, "Run it again.", max_bytes=_LARGEST_LOG):
        data = bytes.fromhex(entry["data"])
        if len(data) % 8:
            raise VerificationError(
                f"{path}: the answer to sample {entry['qsl_idx']} has {len(data)} bytes, which are not pairs of two "
                "float32 values."
            )
        answers.setdefault(entry["qsl_idx"], np.frombuffer(data, np.float32).reshape(-1, 2))
    return answers


def check_accuracy(path: Path, *, samples: int, pairs: int, fp32_auroc: float, rules: Rules) -> Accuracy:
    """Compare a log with the float model.

    Args:
        path: path of the log.
        samples: number of samples that must be in the log.
        pairs: number of pairs of all samples.
        fp32_auroc: AUROC of the float model on the same pairs.
        rules: rules for the model.

    Raises:
        VerificationError: the log is incomplete.
    """
    answers = read_answers(path)
    found = sum(len(answer) for answer in answers.values())
    if len(answers) != samples or found != pairs:
        raise VerificationError(
            f"{path}: has {len(answers)} samples with {found} pairs, but {samples} samples with {pairs} were sent. "
            "Run it again."
        )
    joined = np.concatenate([answers[number] for number in sorted(answers)])
    auroc = exact_auroc(joined[:, 0], joined[:, 1])
    share = auroc / fp32_auroc if fp32_auroc else 1.0  # A float model that orders all pairs wrong has nothing to lose.
    return Accuracy(
        auroc=auroc,
        fp32_auroc=fp32_auroc,
        share=share,
        passed=share >= REQUIRED_SHARE,
        samples=len(answers),
        pairs=found,
        mlperf_auroc=rules.needed_auroc,
        reaches_mlperf=auroc >= rules.needed_auroc,
    )
