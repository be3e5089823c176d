"""Metadata of the server and its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from dlrm_pl.server.protocol.outputs import outputs_metadata

PLATFORM = "dlrm_pl_int8"


@cache
def server_metadata() -> dict[str, Any]:
    """Return the server's name and version, and its protocol extensions."""
    return {"name": "dlrm_pl", "version": version("dlrm-pl"), "extensions": ["binary_tensor_data", "model_repository"]}


def model_metadata(name: str, versions: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a model.

    Args:
        name: name of the model.
        versions: versions that are served.
        schema: inputs as tensors, and as raw values by column (``fields``); a request has either one or the other.
    """
    contents: dict[str, Any] = {
        "name": name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": schema["inputs"],
        "outputs": outputs_metadata(),
    }
    if schema["fields"]:
        contents["parameters"] = {"fields": schema["fields"]}
    return contents
