"""OpenAPI description of the server, for generated clients and protocol tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlrm_pl.server.protocol.datatypes import DATATYPES
from dlrm_pl.server.protocol.metadata import server_metadata
from dlrm_pl.server.protocol.outputs import OUTPUTS

_ERRORS = {
    400: "The request is invalid.",
    404: "There is no such model or version.",
    409: "A newer version was refused; the earlier one is still served.",
    413: "The request is too large.",
    415: "The content encoding of the body is not supported.",
    503: "The server is overloaded or stopping, or the model cannot be used.",
}


def openapi(models: Sequence[str], *, with_token: bool = False) -> dict[str, Any]:
    """Return the description.

    Args:
        models: names of the models that are served.
        with_token: whether requests must carry a token.
    """
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": list(models)}}
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    paths: dict[str, Any] = {
        "/v2": {"get": _operation("Describe the server.", "Server")},
        "/v2/health/live": {"get": _operation("Return whether the server is running.", "Live", secret=False)},
        "/v2/health/ready": {"get": _operation("Return whether all models are ready.", "Ready", 503, secret=False)},
        "/metrics": {"get": _operation("Return counts and times, for Prometheus.", None)},
    }
    for prefix, parameters in (
        ("/v2/models/{model}", [name]),
        ("/v2/models/{model}/versions/{version}", [name, version]),
    ):
        infer = _operation("Score rows.", "InferenceResponse", 400, 404, 413, 415, 503, parameters=parameters)
        infer["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}},
        }
        paths[prefix] = {"get": _operation("Describe a model.", "Model", 404, parameters=parameters)}
        paths[f"{prefix}/ready"] = {
            "get": _operation("Return whether a model is ready.", "ModelReady", 404, 503, parameters=parameters)
        }
        paths[f"{prefix}/infer"] = {"post": infer}
    paths["/v2/repository/index"] = {"post": _operation("List the versions that are served.", "Index")}
    paths["/v2/repository/models/{model}/load"] = {
        "post": _operation("Look for a newer version now.", "Loaded", 404, 409, parameters=[name])
    }
    if not with_token:
        _without_security(paths)
    components: dict[str, Any] = {"schemas": _schemas()}
    if with_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.0.3",
        "info": {"title": "dlrm_pl: Open Inference Protocol", "version": server_metadata()["version"]},
        "paths": paths,
        "components": components,
    }


def _operation(
    summary: str,
    schema: str | None,
    *errors: int,
    parameters: Sequence[dict[str, Any]] = (),
    secret: bool = True,
) -> dict[str, Any]:
    content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    if schema is not None:
        content = _json(schema)
    responses: dict[str, Any] = {"200": {"description": "Yes.", "content": content}}
    for status in errors:
        # "Not ready" has the same response schema as "ready".
        error = schema if status == 503 and schema in ("Ready", "ModelReady") else "Error"
        assert error is not None
        responses[str(status)] = {"description": _ERRORS[status], "content": _json(error)}
    operation: dict[str, Any] = {"summary": summary, "parameters": list(parameters), "responses": responses}
    if secret:
        operation["security"] = [{"token": []}]
        responses["401"] = {"description": "The token is missing or wrong.", "content": _json("Error")}
    return operation


def _without_security(paths: dict[str, Any]) -> None:
    for operations in paths.values():
        for operation in operations.values():
            operation.pop("security", None)
            operation["responses"].pop("401", None)


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _object(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    flag = {"type": "boolean"}
    texts = {"type": "array", "items": text}
    tensor = _object(
        ("name", "datatype", "shape"),
        name=text,
        datatype={"type": "string", "enum": list(DATATYPES)},
        shape={"type": "array", "items": {"type": "integer", "minimum": -1}},
    )
    tensors = {"type": "array", "items": tensor}
    given = _object(
        ("name", "datatype", "shape", "data"),
        name={"type": "string", "minLength": 1, "maxLength": 256},
        datatype={"type": "string", "enum": list(DATATYPES)},
        shape={"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8},
        parameters={"type": "object"},
        data={"type": "array", "items": {}},
    )
    asked = _object(
        ("name",),
        name={"type": "string", "enum": list(OUTPUTS)},
        parameters=_object((), binary_data=flag),
    )
    result = _object(
        ("name", "datatype", "shape"),
        name={"type": "string", "enum": list(OUTPUTS)},
        datatype={"type": "string", "enum": ["FP32"]},
        shape={"type": "array", "items": {"type": "integer", "minimum": 0}},
        data={"type": "array", "items": {"type": "number"}},
        parameters=_object((), binary_data_size={"type": "integer", "minimum": 0}),
    )
    return {
        "Error": _object(("error",), error=text),
        "Server": _object(("name", "version", "extensions"), name=text, version=text, extensions=texts),
        "Live": _object(("live",), live=flag),
        "Ready": _object(("ready",), ready=flag),
        "ModelReady": _object(("name", "version", "ready"), name=text, version=text, ready=flag),
        "Model": _object(
            ("name", "versions", "platform", "inputs", "outputs"),
            name=text,
            versions=texts,
            platform=text,
            inputs=tensors,
            outputs=tensors,
            parameters=_object((), fields=tensors),
        ),
        "Index": {"type": "array", "items": _object(("name", "version", "state"), name=text, version=text, state=text)},
        "Loaded": _object(("name", "versions", "loaded"), name=text, versions=texts, loaded=texts),
        "InferenceRequest": _object(
            ("inputs",),
            id={"type": "string", "maxLength": 256},
            parameters=_object((), binary_data_output=flag),
            inputs={"type": "array", "items": given, "minItems": 1},
            outputs={"type": "array", "items": asked},
        ),
        "InferenceResponse": _object(
            ("model_name", "model_version", "outputs"),
            model_name=text,
            model_version=text,
            id=text,
            outputs={"type": "array", "items": result},
        ),
    }
