"""A made-up report: many trials, drops by op, hostile names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.file import read_certificate
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.report.report_data import ReportData
from dlrm_pl.artifact.writing.sensitivities import Sensitivities, Sensitivity
from dlrm_pl.metrics.score_histogram import ScoreHistogram
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.quantization.recipe_bytes import recipe_bytes
from dlrm_pl.quantization.search.result import pareto_front
from dlrm_pl.quantization.search.trials.trial import Trial
from tests.support import tiny
from tests.support.quantization.searches import verdict


def trials(architecture: Architecture = tiny.ARCHITECTURE, count: int = 30, seed: int = 1) -> list[Trial]:
    """Return the start, then recipes with one op each in another dtype; smaller models have larger drops."""
    rng = np.random.default_rng(seed)
    recipe = Recipe.starting_from(RecipeStart(), architecture)
    found = []
    for number in range(1, count + 1):
        if number == 3:
            found.append(Trial(number, recipe, None, None, 0, 1.0, 0.0, 0, error="<b>made up</b> & failed"))
        else:
            drop = float(rng.normal(0.0006 - 0.00002 * number, 1e-4))
            judged = verdict(
                drop, 0.0005, low=drop - 1e-4, bound=drop + 1e-4, rows=int(2 ** (14 + number % 3)), accepted=drop < 4e-4
            )
            size = recipe_bytes(recipe, architecture)
            found.append(
                Trial(number, recipe, 0.8, judged, size, 2.0, float(rng.uniform(4e5, 9e5)), judged.rows, cost=size)
            )
        ops = list(recipe.ops)
        op = ops[number % len(ops)]
        recipe = recipe.with_dtype(op, "fp16" if op.startswith("tables") else "bf16")
    return found


def histograms(seed: int = 2) -> tuple[ScoreHistogram, ScoreHistogram]:
    rng = np.random.default_rng(seed)
    fp32 = rng.normal(-3.6, 1.0, 20_000).astype(np.float32)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-fp32))).astype(np.uint8)
    int8 = (fp32 + rng.normal(0, 0.02, 20_000)).astype(np.float32)
    found = (ScoreHistogram(), ScoreHistogram())
    for histogram, logits in zip(found, (fp32, int8), strict=True):
        histogram.add(logits, labels)
    return found


def report_data(manifest: Manifest, certificate: Certificate, **changes: Any) -> ReportData:
    """Return the report of an artifact, with made-up trials for its architecture."""
    architecture = Architecture.from_dict(manifest.architecture)
    tried = trials(architecture)
    ops = tried[0].recipe.ops
    rng = np.random.default_rng(3)
    drops = tuple(Sensitivity(op, dtype, float(rng.normal(1e-5, 4e-5)), 2e-5) for op, dtype in ops.items())
    values: dict[str, Any] = {
        "manifest": manifest,
        "certificate": certificate,
        "trials": tried,
        "best": 20,
        "pareto": [trial.number for trial in pareto_front(tried)],
        "sensitivities": Sensitivities(drops, "each op alone"),
        "histograms": histograms(),
        "settings": {"strategy": "basic", "criterion": {"relative": 0.001}},
        "tuning_rows": 200_000,
        "peak_memory_bytes": 2**30,
        "calibration_rows": 128,
    }
    return ReportData(**(values | changes))


def of_artifact(folder: Path, **changes: Any) -> ReportData:
    manifest, certificate = Manifest.read(folder), read_certificate(folder)
    hostile = changes.pop("reason", certificate.reason)
    return report_data(manifest, dataclasses.replace(certificate, reason=hostile), **changes)
