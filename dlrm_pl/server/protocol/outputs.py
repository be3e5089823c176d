"""Outputs of a model: the click probability, and the logit that it is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlrm_pl.documents.fields import shown
from dlrm_pl.server.protocol.errors import RequestError
from dlrm_pl.server.protocol.requests import AskedOutput, InferenceRequest

OUTPUTS = ("probability", "logit")


def asked_outputs(request: InferenceRequest) -> Sequence[AskedOutput]:
    """Return the outputs that a request asks for; by default only the probability.

    Raises:
        RequestError: one of the requested outputs does not exist.
    """
    if not request.outputs:
        return (AskedOutput(OUTPUTS[0], request.is_binary),)
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise RequestError(400, f"There is no output {shown(output.name)}. The outputs are {', '.join(OUTPUTS)}.")
    if len({output.name for output in request.outputs}) != len(request.outputs):
        raise RequestError(400, "An output is requested twice.")
    return request.outputs


def outputs_metadata() -> list[dict[str, Any]]:
    """Return the outputs in the protocol's tensor metadata format."""
    return [{"name": name, "datatype": "FP32", "shape": [-1]} for name in OUTPUTS]
