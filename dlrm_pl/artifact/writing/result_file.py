"""``result.json``: the result of a search for programs to read: verdict, reason, Pareto front, drop by op, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME, RESULT_NAME
from dlrm_pl.artifact.writing.sensitivities import Sensitivities
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import ArtifactError
from dlrm_pl.quantization.search.result import TuningResult
from dlrm_pl.quantization.search.settings import TuningSettings
from dlrm_pl.quantization.search.trials.trial import Trial

FORMAT = 2


def write_result(
    folder: Path,
    result: TuningResult,
    certificate: Certificate,
    settings: TuningSettings,
    sensitivities: Sensitivities,
    made_from: Mapping[str, Any],
) -> None:
    """Write ``result.json`` into the folder of an artifact.

    ``outcome``, ``accepted``, ``rows_needed`` and ``reason`` come from the certificate, which the certification rows
    decide; the result of the search itself is under ``search``.

    Args:
        folder: the artifact folder.
        result: result of the search.
        certificate: certificate of its best model.
        settings: settings of the search.
        sensitivities: drop of each op alone.
        made_from: what the artifact depends on; a second run with the same values is recognized by it.
    """
    contents = {
        "format": FORMAT,
        "outcome": certificate.outcome,
        "accepted": certificate.accepted,
        "rows_needed": certificate.rows_needed,
        "reason": certificate.reason,
        "warnings": certificate.warnings,
        "search": result.to_dict() | {"interrupted": result.interrupted},
        "best": _summary_of_trial(result.best),
        "pareto": [_summary_of_trial(trial) for trial in result.pareto],
        "sensitivities": sensitivities.to_dict(),
        "settings": plain_settings(settings),
        "made_from": dict(made_from),
    }
    (folder / RESULT_NAME).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def check_result(folder: Path, certificate: Certificate) -> None:
    """Compare ``result.json`` with the certificate.

    Raises:
        ArtifactError: the file cannot be read, or contradicts the certificate.
    """
    path = folder / RESULT_NAME
    contents = read_json(path, ArtifactError, "Quantize again.")
    fields = contents if isinstance(contents, dict) else {}
    for name in ("accepted", "reason"):
        ours, theirs = fields.get(name), getattr(certificate, name)
        if ours != theirs:
            raise ArtifactError(
                f"{path}: {name} is {ours!r}, but {theirs!r} in {CERTIFICATE_NAME}. One of the two files was "
                "modified after it was written. Do not trust this artifact; quantize again."
            )


def plain_settings(settings: TuningSettings) -> Mapping[str, Any]:
    """Return the settings in plain JSON types."""
    values: Mapping[str, Any] = json.loads(json.dumps(asdict(settings)))
    return values


def _summary_of_trial(trial: Trial) -> dict[str, Any]:
    """Return a trial's drop, size and speed; ``trials.jsonl`` has all of it."""
    return {
        "number": trial.number,
        "accepted": None if trial.unscored else trial.accepted,
        "drop": None if trial.unscored else trial.drop,
        "model_bytes": trial.model_bytes,
        "samples_per_s": trial.samples_per_s or None,
        "recipe": trial.recipe.to_dict(),
        "reason": trial.reason,
    }
