"""Triton's published client works with the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import http
from tritonclient.utils import InferenceServerException

from dlrm_pl.artifact.store import Artifact
from tests.support.server.artifacts import random_fields, random_rows
from tests.support.server.calls import NAME
from tests.support.server.running import Running, running

# The client leaves its greenlets to the garbage collector.
pytestmark = [pytest.mark.untraced, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def server(served_folder: Path) -> Iterator[Running]:
    with running({NAME: served_folder}) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Any]:
    with http.InferenceServerClient(f"127.0.0.1:{server.port}") as found:
        yield found


def tensors(dense: Any, ids: Any, *, is_binary: bool) -> list[Any]:
    inputs = [http.InferInput("dense", dense.shape, "FP32"), http.InferInput("indices", ids.shape, "INT64")]
    for tensor, values in zip(inputs, (dense, ids), strict=True):
        tensor.set_data_from_numpy(values, binary_data=is_binary)
    return inputs


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(NAME)
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["dense", "indices"]
    version = metadata["versions"][-1]
    assert client.is_model_ready(NAME, version)
    assert client.get_model_metadata(NAME, version) == metadata
    assert client.get_model_repository_index() == [{"name": NAME, "version": version, "state": "READY"}]
    client.load_model(NAME)


@pytest.mark.parametrize("is_binary", [False, True])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_rows(client: Any, artifact: Artifact, is_binary: bool, packing: str | None) -> None:
    dense, ids = random_rows(100)
    if not is_binary:
        dense = np.nan_to_num(dense)  # The client writes NaN, which is not valid JSON.
    outputs = [http.InferRequestedOutput(name, binary_data=is_binary) for name in ("logit", "probability")]
    answer = client.infer(
        NAME,
        tensors(dense, ids, is_binary=is_binary),
        outputs=outputs,
        request_id="7",
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
    )
    np.testing.assert_array_equal(answer.as_numpy("probability"), artifact.predict((dense, ids)))
    assert answer.as_numpy("logit").shape == (100,)
    assert answer.get_response()["id"] == "7"


def test_many_requests_at_a_time(server: Running, artifact: Artifact) -> None:
    with http.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=8) as client:
        parts = [random_rows(count % 5 + 1, seed=count) for count in range(40)]
        waiting = [client.async_infer(NAME, tensors(*part, is_binary=True)) for part in parts]
        for part, request in zip(parts, waiting, strict=True):
            np.testing.assert_array_equal(request.get_result().as_numpy("probability"), artifact.predict(part))


def test_raw_values(client: Any, artifact: Artifact) -> None:
    frame = random_fields(20)
    inputs = []
    for name, values in frame.items():
        if name == "word":
            array, datatype = np.array(values, object), "BYTES"
        elif name.startswith("n"):
            array, datatype = np.array(values, np.float64), "FP64"
        else:
            array, datatype = np.array(values, np.int64), "INT64"
        tensor = http.InferInput(name, array.shape, datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    answer = client.infer(NAME, inputs)
    np.testing.assert_array_equal(answer.as_numpy("probability"), artifact.predict(frame, raw=True))


def test_errors_reach_the_client(client: Any) -> None:
    dense, ids = random_rows(1)
    with pytest.raises(InferenceServerException, match=r"There is no model 'clickz'\. Did you mean clicks") as caught:
        client.infer("clickz", tensors(dense, ids, is_binary=True))
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match=r"the shape is \[1, 5\], but must be \[rows, 13\]"):
        client.infer(NAME, tensors(dense[:, :5], ids, is_binary=True))
