"""Write ``certificate.json``, and read it in this format and in older ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlrm_pl.artifact.certificate.certificate import Certificate
from dlrm_pl.artifact.certificate.consistency import contradiction
from dlrm_pl.artifact.manifest import CERTIFICATE_NAME
from dlrm_pl.artifact.stated import StatedCertificate
from dlrm_pl.documents.fields import make, shown
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import ArtifactError, ConfigurationError

FORMAT = 4
_WITH_LOSSES = 3
"""The format in which AUROC drops were called losses."""
_WITHOUT_BOUNDS = 2
"""The format before that: the estimate of the drop decided, and there were two outcomes."""


def write_certificate(certificate: Certificate, folder: Path) -> None:
    """Write ``certificate.json`` into the folder of an artifact."""
    contents = {"format": FORMAT} | _nan_as_null(asdict(certificate)) | {"warnings": certificate.warnings}
    text = json.dumps(contents, indent=2, allow_nan=False)
    (folder / CERTIFICATE_NAME).write_text(text + "\n", encoding="utf-8")


def read_certificate(folder: Path) -> Certificate:
    """Read ``certificate.json``, including older formats, and check that it is consistent.

    Raises:
        ArtifactError: the file is missing, is not JSON, has a format that this version does not read, or contradicts
            itself.
    """
    path = folder / CERTIFICATE_NAME
    contents = read_json(path, ArtifactError, "Quantize again.")
    number = contents.pop("format", None) if isinstance(contents, dict) else None
    if number in (_WITHOUT_BOUNDS, _WITH_LOSSES):
        contents = _with_drops(contents)
    if number == _WITHOUT_BOUNDS:
        contents = _with_bounds(contents)
    elif number not in (_WITH_LOSSES, FORMAT):
        raise ArtifactError(
            f"{path}: format {shown(number)}; this version reads formats {_WITHOUT_BOUNDS} to {FORMAT}. Quantize again."
        )
    contents.pop("warnings", None)  # They are derived from the other fields.
    known = _null_as_nan(contents)
    make(StatedCertificate, known, str(path), ArtifactError, "Quantize again.")
    try:
        made = make(Certificate, known, str(path), ArtifactError, "Quantize again.")
        wrong = contradiction(made)
    except ConfigurationError as error:  # The worst slice is one that no criterion can ask for.
        raise ArtifactError(f"{path}: {error} Quantize again.") from error
    except (ValueError, ArithmeticError) as error:  # Numbers that this package never writes.
        raise ArtifactError(
            f"{path}: cannot be read as a certificate ({type(error).__name__}: {error}). Quantize again."
        ) from error
    if wrong:
        raise ArtifactError(
            f"{path}: contradicts itself: {wrong}. The file was modified after it was written. Do not trust it; "
            "quantize again."
        )
    return made


def _nan_as_null(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with None, null in JSON, in place of NaN."""
    return {
        name: _nan_as_null(value)
        if isinstance(value, dict)
        else None
        if isinstance(value, float) and math.isnan(value)
        else value
        for name, value in values.items()
    }


def _null_as_nan(contents: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents with NaN in place of None, in the fields that may be NaN."""
    values = dict(contents)
    for model in ("fp32", "int8"):
        if isinstance(stated := values.get(model), Mapping):
            values[model] = {name: math.nan if value is None else value for name, value in stated.items()}
    for name in ("auroc_drop", "auroc_drop_relative", "tolerance"):
        if name in values and values[name] is None:
            values[name] = math.nan
    return values


def _with_drops(older: dict[str, Any]) -> dict[str, Any]:
    """Return a certificate of format 3 or older with the field names of this format.

    Drops were called "loss", passed guards "held", and slices that were too small "left_out". Only the name of a column
    showed whether it was categorical.
    """
    named: dict[str, Any] = _renamed(older)
    part = named.get("worst_slice")
    if isinstance(part, dict) and isinstance(cut := part.get("cut"), dict):
        guard = part.get("guard")
        by = guard.get("by") if isinstance(guard, dict) else None
        cut["categorical"] = not str(by).startswith("I")
    return named


_RENAMED: Mapping[Any, str] = {"loss": "drop", "held": "passed", "left_out": "too_small"}


def _renamed(older: Any) -> Any:
    """Rename fields at any depth; values, such as the names of guards, stay unchanged."""
    if isinstance(older, list):
        return [_renamed(value) for value in older]
    if not isinstance(older, dict):
        return older
    return {
        _RENAMED.get(name, name).replace("auroc_loss", "auroc_drop"): _renamed(value) for name, value in older.items()
    }


def _with_bounds(older: dict[str, Any]) -> dict[str, Any]:
    """Return a certificate of format 2, which has no bounds, with the fields of this format."""
    return older | {
        "auroc_drop_at_least": None,
        "auroc_drop_at_most": None,
        "auroc_drop_standard_error": None,
        "degrees_of_freedom": None,
        "bound_method": "",
        "judged_by": "estimate",
        "outcome": "accepted" if older.get("accepted") is True else "not accepted",
        "rows_needed": None,
    }
