"""YAML front matter of a model card, by which the Hugging Face Hub finds and lists the model."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from dlrm_pl.artifact.card.facts import CardFacts
from dlrm_pl.documents.fields import printable
from dlrm_pl.errors import ConfigurationError

LIBRARY = "dlrm_pl"
TASK = "tabular-classification"
_METRICS = (("auroc", "roc_auc", "AUROC"), ("log_loss", "log_loss", "log loss"))
"""Name in a certificate, type on the Hub and name for readers of each metric."""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


def front_matter(facts: CardFacts) -> str:
    """Return the YAML front matter, including its two lines of dashes.

    Raises:
        ConfigurationError: the licence is not a valid identifier.
    """
    values: dict[str, Any] = {"library_name": LIBRARY, "pipeline_tag": TASK}
    if facts.license:
        values["license"] = _license(facts.license)
    outcome = facts.certificate.outcome
    values["tags"] = ["dlrm", "recommendation", "click-through-rate", "tabular", "quantization", "int8", "cpu"]
    values["tags"] += [] if outcome == "accepted" else [outcome.replace(" ", "-")]
    if metrics := _metrics(facts):
        values["metrics"] = list(dict.fromkeys(metric["type"] for metric in metrics))
        values["model-index"] = [{"name": printable(facts.name), "results": [_result(facts, metrics)]}]
    # An unlimited width, since a wrapped line could begin with three dashes.
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=math.inf)
    return f"---\n{text}---\n"


def _license(name: str) -> str:
    if not _LICENSE.fullmatch(name):
        raise ConfigurationError(
            f"license={name!r} is not a licence identifier. Give one from the Hugging Face Hub's list, such as "
            "apache-2.0, mit or other."
        )
    return name


def _result(facts: CardFacts, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    fingerprint = facts.certificate.dataset_fingerprint
    return {
        "task": {"type": TASK, "name": "click prediction"},
        "dataset": {
            "type": "click-log",
            "name": printable(f"click log with fingerprint {fingerprint}") if fingerprint else "click log",
            "split": facts.certificate.row_ranges["certification"]["split"],
        },
        "metrics": metrics,
    }


def _metrics(facts: CardFacts) -> list[dict[str, Any]]:
    """Metrics of int8, which is what the repository has, and of fp32; none where the rows could not be scored."""
    certificate = facts.certificate
    return [
        {"type": kind, "value": round(scores[name], 6), "name": f"{title}, {model}"}
        for model, scores in (("int8", certificate.int8), ("fp32 before quantization", certificate.fp32))
        for name, kind, title in _METRICS
        if math.isfinite(scores[name])
    ]
