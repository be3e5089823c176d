"""The server scores rows exactly as ``predict`` does, to the last bit."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrm_pl.arrays import dense_tensor
from dlrm_pl.artifact.store import Artifact
from dlrm_pl.server.batching.batcher import BatchLimits
from dlrm_pl.server.inputs.few_fields import FEW_ROWS
from dlrm_pl.server.inputs.fields import FieldInputs
from dlrm_pl.server.models.loaded import LoadedModel
from dlrm_pl.server.settings import Limits
from tests.support import tiny
from tests.support.artifacts import change
from tests.support.quantization.int8_models import lowered
from tests.support.server.artifacts import random_fields, random_rows
from tests.support.server.calls import NAME, Caller, binary, rows_binary, rows_text, tensor, text


@pytest.mark.parametrize("rows", [1, 2, 33, 64, 65, 1000])
def test_json_and_binary_give_the_bits_of_predict(caller: Caller, artifact: Artifact, rows: int) -> None:
    dense, ids = random_rows(rows, seed=rows)
    expected = artifact.predict((dense, ids))
    for request in (
        rows_text(dense, ids),
        rows_text(dense, ids, parameters={"binary_data_output": True}),
        rows_binary(dense, ids),
        rows_binary(dense, ids, outputs=[{"name": "probability", "parameters": {"binary_data": True}}]),
    ):
        np.testing.assert_array_equal(caller.infer(request).values(), expected)


def test_logits_are_those_of_the_model_and_nested_lists_are_read(caller: Caller, artifact: Artifact) -> None:
    dense, ids = random_rows(3)
    inputs = [tensor("dense", "FP32", dense), tensor("indices", "INT32", ids)]
    inputs[1]["data"] = ids.tolist()
    answer = caller.infer(text(inputs, id="some id", outputs=[{"name": "logit"}, {"name": "probability"}]))
    assert answer.contents["id"] == "some id"
    assert answer.contents["model_name"] == NAME
    logits = answer.values("logit")
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.astype(np.float64))), answer.values(), rtol=1e-6)
    np.testing.assert_array_equal(answer.values(), artifact.predict((dense, ids)))


@pytest.mark.parametrize("limits", [BatchLimits(), BatchLimits(batch_rows=7), BatchLimits(delay_s=0.02)])
def test_no_batching_changes_a_bit(served_folder: Path, artifact: Artifact, limits: BatchLimits) -> None:
    parts = [random_rows(count, seed=count) for count in (1, 2, 5, 63, 1, 40, 0, 3, 17)]
    with Caller({NAME: served_folder}, batching=limits) as caller:
        answers = caller.infer_all([rows_binary(*part) for part in parts])
        batches = caller.metrics.batches[NAME]
    for part, answer in zip(parts, answers, strict=True):
        np.testing.assert_array_equal(answer.values(), artifact.predict(part))
    assert batches.sum == sum(len(dense) for dense, _ in parts)
    assert sum(batches.counts) < len(parts)


def test_requests_with_bags_are_scored_beside_others(caller: Caller, artifact: Artifact) -> None:
    requests, expected = [], []
    for seed, batch in enumerate(tiny.bags(4, 9)):
        dense, _ = random_rows(9, seed)
        sent = {"dense": ("FP32", dense), "indices": ("INT64", batch.indices), "offsets": ("INT64", batch.offsets)}
        requests.append(binary(sent))
        one = random_rows(2, seed)
        requests.append(rows_binary(*one))
        expected.append(artifact.predict(batch._replace(dense=dense_tensor(dense, artifact.columns, True))))
        expected.append(artifact.predict(one))
    for answer, values in zip(caller.infer_all(requests), expected, strict=True):
        np.testing.assert_array_equal(answer.values(), values)


@pytest.mark.parametrize("rows", [50, 200])
def test_raw_values_get_the_ids_of_the_vocabulary(
    caller: Caller, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    frame = random_fields(rows)
    expected = artifact.predict(frame, raw=True)
    types = {name: "BYTES" if name == "word" else "INT64" for name in frame}
    numbers = {name: "FP64" if name.startswith("n") else types[name] for name in frame}
    as_json = [
        {"name": name, "datatype": numbers[name], "shape": [rows], "data": values} for name, values in frame.items()
    ]
    texts = {
        name: ("BYTES", [b"" if value is None else str(value).encode() for value in values])
        for name, values in frame.items()
    }
    threads: list[str] = []
    read = FieldInputs.batch

    def noted(self: FieldInputs, *arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return read(self, *arguments)

    monkeypatch.setattr(FieldInputs, "batch", noted)
    for request in (text(as_json), binary(texts)):
        np.testing.assert_array_equal(caller.infer(request).values(), expected)
    assert caller.metrics.unseen[NAME] > 0
    # Reading many rows takes too long for the thread that answers all requests.
    assert all((name == threading.current_thread().name) == (rows <= FEW_ROWS) for name in threads)
    assert len(threads) == 2


def test_raw_values_and_ids_are_scored_together(caller: Caller, artifact: Artifact) -> None:
    frame = random_fields(3)
    fields = [tensor(name, "BYTES" if name == "word" else "FP64", values, [3]) for name, values in frame.items()]
    dense, ids = random_rows(2)
    narrow = binary({"dense": ("FP32", dense), "indices": ("INT32", ids)})
    before = caller.metrics.batches[NAME].sum, sum(caller.metrics.batches[NAME].counts)
    answers = caller.infer_all([rows_binary(dense, ids), text(fields), narrow])
    assert caller.metrics.batches[NAME].sum - before[0] == 7
    assert sum(caller.metrics.batches[NAME].counts) - before[1] == 1
    for answer, rows in zip(answers, [(dense, ids), frame, (dense, ids)], strict=True):
        np.testing.assert_array_equal(answer.values(), artifact.predict(rows, raw=rows is frame))


def test_one_unknown_field_and_one_missing_are_named(caller: Caller) -> None:
    frame = random_fields(2)
    inputs = [tensor(name, "BYTES" if name == "word" else "FP64", values, [2]) for name, values in frame.items()]
    inputs[-1]["name"] = "shpo"
    answer = caller.infer(text(inputs))
    assert (answer.status, answer.error) == (400, "There is no input 'shpo'. Did you mean shop?")
    answer = caller.infer(text(inputs[:-1]))
    assert answer.status == 400
    assert "the request: has no column shop." in answer.error


def test_error_of_a_request_does_not_affect_its_neighbours(caller: Caller, artifact: Artifact) -> None:
    parts = [random_rows(2, seed) for seed in range(5)]
    parts[2][1][1, 0] = 40
    answers = caller.infer_all([rows_binary(*part) for part in parts])
    assert [answer.status for answer in answers] == [200, 200, 400, 200, 200]
    assert "row 1 has the id 40 for table 0 (word), which has ids 0 to 39" in answers[2].error
    for index in (0, 1, 3, 4):
        np.testing.assert_array_equal(answers[index].values(), artifact.predict(parts[index]))


CROSSED = replace(tiny.ARCHITECTURE, interaction="dcn", cross_layers=2, cross_rank=5)


def test_models_with_products_of_floats_are_not_merged(served_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LoadedModel(served_folder)
    assert model.merges
    for other in (lowered(linears="fp32"), lowered(interaction="fp32"), lowered(CROSSED, {"cross_net.0.w": "fp32"})):
        monkeypatch.setattr(model, "_model", other)
        assert not model.merges
    # A concatenation of vectors sums nothing.
    monkeypatch.setattr(model, "_model", lowered(CROSSED))
    assert model.merges


def test_model_without_dictionaries_or_arrow_takes_only_tensors(
    served_folder: Path,
    folder: Path,
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fields = text([{"name": "word", "datatype": "BYTES", "shape": [1], "data": ["w1"]}])
    change(folder, "manifest.json", ("files",), {
        name: "" for name in artifact.manifest.files if name != "vocabulary.safetensors"
    })  # fmt: skip
    (folder / "vocabulary.safetensors").unlink()
    rows = random_rows(2)
    with Caller({NAME: folder}) as caller:
        assert "Quantize with --with_vocabulary" in caller.infer(fields).error
        assert "parameters" not in caller.get(f"/v2/models/{NAME}").contents
        np.testing.assert_array_equal(caller.infer(rows_binary(*rows)).values(), artifact.predict(rows))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with Caller({NAME: served_folder}) as caller:
        (said,) = caplog.messages
        assert "requests with raw values will be refused, because the library that reads them is missing." in said
        assert 'pip install "dlrm-pl[frames]"' in said
        assert 'pip install "dlrm-pl[frames]"' in caller.infer(fields).error
        np.testing.assert_array_equal(caller.infer(rows_binary(*rows)).values(), artifact.predict(rows))


def test_bodies_that_are_held_and_rows_that_wait_are_bounded(served_folder: Path) -> None:
    request = rows_binary(*random_rows(100))
    small = Limits(held_bytes=3 * len(request[0]))
    with Caller({NAME: served_folder}, limits=small, batching=BatchLimits(queue_rows=10**6)) as caller:
        answers = caller.infer_all([request] * 20)
        assert {answer.status for answer in answers} == {200, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
        assert caller.infer(request).status == 200
    with Caller({NAME: served_folder}, batching=BatchLimits(queue_rows=250)) as caller:
        answers = caller.infer_all([request] * 20)
        assert [answer.status for answer in answers] == [200] * 2 + [503] * 18
        assert "Too many rows are waiting" in answers[-1].error
        assert answers[-1].headers["retry-after"] == "1"
        assert caller.infer(request).status == 200
