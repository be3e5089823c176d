"""Ask a server with KServe's published client; run by the Python of ``make kserve``, which has no ``dlrm_pl``.

python kserve_program.py URL MODEL < rows.json > answers.json
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(url: str, model: str, rows: dict[str, Any]) -> dict[str, Any]:
    dense, ids = np.array(rows["dense"], np.float32), np.array(rows["indices"], np.int64)
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    found: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, model),
    }
    for is_binary in (False, True):
        inputs = [InferInput("dense", list(dense.shape), "FP32"), InferInput("indices", list(ids.shape), "INT64")]
        inputs[0].set_data_from_numpy(dense, binary_data=is_binary)
        inputs[1].set_data_from_numpy(ids, binary_data=is_binary)
        request = InferRequest(model, inputs, request_id="7", parameters={"binary_data_output": is_binary})
        answer = await client.infer(url, request, model_name=model)
        found["binary" if is_binary else "json"] = answer.outputs[0].as_numpy().tolist()
        found["id"] = answer.id
    try:
        await client.infer(url, InferRequest("none", inputs, request_id="8"), model_name="none")
    except Exception as error:
        found["error"] = str(error)
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2], json.load(sys.stdin)))))
