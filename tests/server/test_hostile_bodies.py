"""A hundred bodies that nobody should send: each gets one clear error with its status, and the server continues."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from dlrm_pl.artifact.store import Artifact
from tests.support.server.artifacts import random_rows
from tests.support.server.calls import NAME, Caller, binary, rows_binary, rows_text, tensor, text

DENSE, IDS = random_rows(3)
FLOATS = np.nan_to_num(DENSE)
GOOD = {"dense": tensor("dense", "FP32", FLOATS), "indices": tensor("indices", "INT64", IDS)}
DEEP = 5000


def with_dense(**changes: Any) -> bytes:
    return text([GOOD["dense"] | changes, GOOD["indices"]])


def with_indices(**changes: Any) -> bytes:
    return text([GOOD["dense"], GOOD["indices"] | changes])


def with_binary(change: Callable[[dict[str, Any]], object]) -> tuple[bytes, dict[str, str]]:
    """Return the good request with a changed description of its binary tensors."""
    body, headers = rows_binary(DENSE, IDS)
    length = int(headers["Inference-Header-Content-Length"])
    head = json.loads(body[:length])
    change(head)
    changed = json.dumps(head).encode()
    return changed + body[length:], {"Inference-Header-Content-Length": str(len(changed))}


def size_of(name: str, size: Any) -> tuple[bytes, dict[str, str]]:
    index = ["dense", "indices"].index(name)
    return with_binary(lambda head: head["inputs"][index]["parameters"].update(binary_data_size=size))


def shape_of(shape: Any) -> tuple[bytes, dict[str, str]]:
    return with_binary(lambda head: head["inputs"][0].update(shape=shape))


def length_header(value: str) -> tuple[bytes, dict[str, str]]:
    return rows_binary(DENSE, IDS)[0], {"Inference-Header-Content-Length": value}


def ids_of(value: int, datatype: str = "INT64") -> tuple[bytes, dict[str, str]]:
    ids = IDS.copy()
    ids[1, 2] = value
    return binary({"dense": ("FP32", DENSE), "indices": (datatype, ids)})


def dense_of(value: float) -> tuple[bytes, dict[str, str]]:
    dense = DENSE.copy()
    dense[2, 1] = value
    return rows_binary(dense, IDS)


def bags(indices: Any, offsets: Any) -> bytes:
    more = [tensor("indices", "INT64", indices), tensor("offsets", "INT64", offsets)]
    return text([GOOD["dense"], *more])


def words(body: bytes, size: int | None = None) -> tuple[bytes, dict[str, str]]:
    """Return a string tensor with these bytes."""
    parameters = {"binary_data_size": len(body) if size is None else size}
    item = {"name": "word", "datatype": "BYTES", "shape": [2], "parameters": parameters}
    head = json.dumps({"inputs": [item]}).encode()
    return head + body, {"Inference-Header-Content-Length": str(len(head))}


def fields(**changes: Any) -> bytes:
    values: dict[str, Any] = {f"n{number}": [1, 2] for number in range(13)}
    values |= {"word": ["w1", "w2"], "user": [1, 2], "shop": [100, 101]} | changes
    found = []
    for name, value in values.items():
        kind = "BYTES" if isinstance(value[0], str) else "FP64" if isinstance(value[0], float) else "INT64"
        found.append({"name": name, "datatype": kind, "shape": [len(value)], "data": value})
    return text(found)


TIGHT = rows_text(FLOATS, IDS)

Body = bytes | tuple[bytes, dict[str, str]]
BODIES: dict[str, tuple[Body, int, str]] = {
    # Not JSON, or not a request.
    "empty": (b"", 400, "cannot be read as JSON"),
    "spaces": (b" " * 100, 400, "cannot be read as JSON"),
    "null byte": (b"\0", 400, "cannot be read as JSON"),
    "half": (TIGHT[: len(TIGHT) // 2], 400, "cannot be read as JSON"),
    "twice": (TIGHT * 2, 400, "Extra data"),
    "UTF-16": (TIGHT.decode().encode("utf-16"), 400, "is not UTF-8 text at byte 0."),
    "not UTF-8": (b'{"inputs": "\xff"}', 400, "is not UTF-8 text at byte 12."),
    "no length of the JSON": ((rows_binary(DENSE - 0.1, IDS)[0], {}), 400, "in the header Inference-"),
    "lone surrogate": (b'{"id": "\\ud800", "inputs": []}', 400, "lone surrogate"),
    "key twice": (b'{"inputs": [], "inputs": []}', 400, "occurs twice"),
    "a list": (b"[]", 400, "must be a JSON object"),
    "a number": (b"7", 400, "must be a JSON object"),
    "a text": (b'"inputs"', 400, "must be a JSON object"),
    "null": (b"null", 400, "must be a JSON object"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, 400, "nested deeper"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, 400, "nested deeper"),
    "deep and open": (b"[" * 100_000, 400, "nested deeper"),
    "many lists": (b"[" + b"[]," * 200_000 + b"[]]", 400, "more than 131,072 lists"),
    "NaN": (with_dense(data=[float("nan")] * 39), 400, "is nan, which is not a JSON number"),
    "Infinity": (TIGHT.replace(b"1.0", b"Infinity", 1), 400, "JSON"),
    "long number": (b'{"inputs": ' + b"9" * 100_000 + b"}", 400, "JSON"),
    "large exponent": (TIGHT.replace(b"1.0", b"1e999", 1), 400, "not a JSON number"),
    "large document": (TIGHT + b" " * (4 << 20), 413, "more than 4,194,304"),
    # Parts of a request.
    "nothing": (b"{}", 400, "inputs is empty or missing"),
    "no inputs": (text([]), 400, "inputs is empty or missing"),
    "inputs are an object": (b'{"inputs": {}}', 400, "inputs must be a list"),
    "inputs are texts": (b'{"inputs": ["dense"]}', 400, "must be an object"),
    "too many inputs": (text([{}] * 9000), 400, "9,000 elements"),
    "outputs are a text": (text([GOOD["dense"]], outputs="all"), 400, "outputs must be a list"),
    "output without name": (text([GOOD["dense"]], outputs=[{}]), 400, "has no name"),
    "unknown output": (rows_text(FLOATS, IDS, outputs=[{"name": "clicks"}]), 400, "There is no output 'clicks'"),
    "output twice": (rows_text(FLOATS, IDS, outputs=[{"name": "logit"}] * 2), 400, "requested twice"),
    "binary neither true nor false": (
        rows_text(FLOATS, IDS, outputs=[{"name": "logit", "parameters": {"binary_data": 1}}]), 400, "true or false"),
    "shared memory for outputs": (
        rows_text(FLOATS, IDS, outputs=[{"name": "logit", "parameters": {"shared_memory_region": "a"}}]),
        400, "is not supported"),
    "id is a number": (rows_text(FLOATS, IDS, id=7), 400, "id must be text"),
    "long id": (rows_text(FLOATS, IDS, id="7" * 1000), 400, "at most 256 characters"),
    "parameters are a list": (rows_text(FLOATS, IDS, parameters=[]), 400, "parameters must be an object"),
    # Tensors.
    "no name": (with_dense(name=""), 400, "has no name"),
    "name of a file": (with_dense(name="../../etc/passwd"), 400, "There is no input"),
    "name with controls": (with_dense(name="\x1b[2J\r\nX: y"), 400, "There is no input"),
    "another name": (with_dense(name="densee"), 400, "Did you mean dense?"),
    "only one": (text([GOOD["dense"]]), 400, "The input 'indices' is missing"),
    "the same twice": (text([GOOD["dense"]] * 2), 400, "given twice"),
    "one too many": (text([*GOOD.values(), tensor("more", "FP32", FLOATS)]), 400, "There is no input 'more'"),
    "no datatype": (with_dense(datatype=None), 400, "datatype None must be one of"),
    "unknown datatype": (with_dense(datatype="FP33"), 400, "datatype 'FP33' must be one of"),
    "datatype is a list": (with_dense(datatype=["FP32"]), 400, "must be one of"),
    "wrong datatype": (with_dense(datatype="FP64"), 400, "the datatype is FP64, but must be FP32"),
    "ids are floats": (with_indices(datatype="FP32"), 400, "the datatype is FP32, but must be INT64 or INT32"),
    "no shape": (with_dense(shape=None), 400, "must be a list of whole numbers"),
    "negative shape": (with_dense(shape=[-1, 13]), 400, "must be a list of whole numbers"),
    "shape of booleans": (with_dense(shape=[True, 13]), 400, "must be a list of whole numbers"),
    "shape of fractions": (with_dense(shape=[3.0, 13]), 400, "must be a list of whole numbers"),
    "shape of many dimensions": (with_dense(shape=[1] * 40 + [3, 13]), 400, "42 dimensions, more than 8"),
    "huge shape": (with_dense(shape=[2**31, 2**31]), 400, "more values than any request"),
    "huge shape of little": (with_dense(shape=[2**61, 0], data=[]), 400, "more values than any request"),
    "shape that overflows": (with_dense(shape=[2**63, 2, 13]), 400, "more values than any request"),
    "shape beyond 64 bits": (with_dense(shape=[2**70]), 400, "JSON"),
    "other shape": (with_dense(shape=[13, 3]), 400, "must be [rows, 13]"),
    "flat shape": (with_dense(shape=[39]), 400, "must be [rows, 13]"),
    "rows that differ": (with_indices(shape=[1, 3], data=[0, 0, 0]), 400, "must be [3, 3]"),
    "no data": (with_dense(data=None), 400, "needs either data or the parameter"),
    "data is an object": (with_dense(data={"0": 1}), 400, "data must be a list"),
    "data is a text": (with_dense(data="1" * 39), 400, "data must be a list"),
    "too few values": (with_dense(data=[1.0] * 38), 400, "has 39 values, but data has 38"),
    "too many values": (with_dense(data=[1.0] * 40), 400, "has 39 values, but data has 40"),
    "nested another way": (with_dense(data=[[1.0] * 39]), 400, "does not match the shape"),
    "nested unevenly": (with_dense(data=[[1.0] * 13, [1.0] * 12, [1.0] * 14]), 400, "does not match the shape"),
    "texts for numbers": (with_dense(data=["1"] * 39), 400, "must be numbers, not '1'"),
    "true for numbers": (with_dense(data=[True] * 39), 400, "must be numbers, not True"),
    "lists among numbers": (with_dense(data=[1.0] * 38 + [[1]]), 400, "must be numbers, not [1]"),
    "fractions for ids": (with_indices(data=[0.5] * 9), 400, "must be whole numbers, not 0.5"),
    "null for ids": (with_indices(data=[None] * 9), 400, "must be whole numbers, not None"),
    "number too large for the float": (with_dense(data=[1e300] * 39), 400, "is infinite"),
    "id beyond 64 bits": (with_indices(data=[2**63] * 9), 400, "outside the range of INT64"),
    "id beyond 32 bits": (with_indices(datatype="INT32", data=[2**31] * 9), 400, "outside the range of INT32"),
    # Values.
    "infinite": (dense_of(np.inf), 400, "feature 1 of row 2 is infinite"),
    "negative id": (ids_of(-1), 400, "row 1 has the id -1 for table 2 (shop), which has ids 0 to 24"),
    "id after the last": (ids_of(25), 400, "row 1 has the id 25"),
    "smallest id": (ids_of(-(2**63)), 400, "has the id -9223372036854775808"),
    "largest id": (ids_of(2**63 - 1), 400, "has the id 9223372036854775807"),
    "negative short id": (ids_of(-7, "INT32"), 400, "has the id -7"),
    "too many rows": (rows_binary(*random_rows(8193)), 413, "8,193 rows, more than 8,192"),
    # Binary tensors.
    "length beyond the body": (length_header("100000"), 400, "has only"),
    "length of nothing": (length_header("0"), 400, "cannot be read as JSON"),
    "length in the middle": (length_header("10"), 400, "cannot be read as JSON"),
    "negative length": (length_header("-5"), 400, "must be a number of bytes"),
    "length of letters": (length_header("ten"), 400, "must be a number of bytes"),
    "long length": (length_header("1" * 5000), 400, "must be a number of bytes"),
    "length in other digits": (length_header("\u0663".encode().decode("latin-1")), 400, "must be a number of bytes"),
    "size beyond the body": (size_of("indices", 10**9), 400, "only"),
    "size beyond 64 bits": (size_of("indices", 2**70), 400, "JSON"),
    "size too small": (size_of("dense", 152), 400, "has 156 bytes, but binary_data_size is 152"),
    "negative size": (size_of("dense", -4), 400, "must be a whole number"),
    "size is a text": (size_of("dense", "156"), 400, "must be a whole number"),
    "size is true": (size_of("dense", True), 400, "must be a whole number"),
    "size and data": (with_binary(lambda head: head["inputs"][0].update(data=[1])), 400, ", not both"),
    "shape larger than the bytes": (shape_of([2**30, 13]), 400, "but binary_data_size is 156"),
    "shape smaller than the bytes": (shape_of([2, 13]), 400, "has 104 bytes"),
    "bytes at the end": ((rows_binary(DENSE, IDS)[0] + b"more", rows_binary(DENSE, IDS)[1]), 400, "after the last"),
    "bytes missing": ((rows_binary(DENSE, IDS)[0][:-1], rows_binary(DENSE, IDS)[1]), 400, "bytes of the body are left"),
    "header without binary data": (size_of("dense", None), 400, "needs either data or the parameter"),
    "shared memory": (
        with_binary(lambda head: head["inputs"][0]["parameters"].update(shared_memory_region="a")), 400,
        "shared memory is not supported"),
    "texts without lengths": (words(b"ab"), 400, "take at least 8 bytes"),
    "text longer than the tensor": (words(b"\xff\xff\xff\x7fab" + b"\0" * 4), 400, "ends after the tensor's last byte"),
    "text with more behind it": (words(b"\0" * 12), 400, "are left after its 2 BYTES elements"),
    # Bags.
    "bags without enough offsets": (bags([0], [0, 1]), 400, "must be [ids] and [10]"),
    "bags in a square": (bags([[0]], [0] * 10), 400, "must be [ids] and [10]"),
    "bags that do not begin": (bags([0], [1] * 10), 400, "must begin with 0"),
    "bags that go back": (bags([0, 0], [0, 2, 1, 2, 2, 2, 2, 2, 2, 2]), 400, "never decrease"),
    "bags that end later": (bags([0], [0] * 9 + [5]), 400, "end with 1"),
    "id in a bag": (bags([0, 7], [0, 1, 1, 1, 2, 2, 2, 2, 2, 2]), 400, "element 1 has the id 7 for table 1 (user)"),
    # Raw values.
    "field is missing": (fields(word=["w1"]), 400, "column"),
    "field is a text": (fields(shop=["a", "b"]), 400, "input 'shop', row 0 (from 0): 'a' is not a whole number"),
    "field is a fraction": (fields(shop=[1.5, 2.0]), 400, "column shop is 1.5"),
    "field is not UTF-8": (
        binary({"word": ("BYTES", [b"a", b"\xff"])}), 400,
        "input 'word', row 1 (from 0): b'\\xff' is not UTF-8"),
    "field beyond 32 bits": (fields(n0=[2**40, 1]), 400, "column n0"),
}  # fmt: skip


def test_there_are_a_hundred() -> None:
    assert len(BODIES) >= 100


@pytest.mark.parametrize("name", BODIES)
def test_body_gets_one_error(caller: Caller, name: str) -> None:
    body, status, message = BODIES[name]
    answer = caller.infer(body)
    assert (answer.status, message in answer.error) == (status, True), answer
    assert len(answer.error) < 1000
    assert answer.error.isprintable()


def test_the_server_answers_as_before_and_held_nothing_back(caller: Caller, artifact: Artifact) -> None:
    for body, _, _ in BODIES.values():
        caller.infer(body)
    np.testing.assert_array_equal(caller.infer(rows_binary(DENSE, IDS)).values(), artifact.predict((DENSE, IDS)))
    assert "dlrm_pl_held_body_bytes 0" in caller.get("/metrics").body.decode()
    assert 'queued_rows{model="clicks"' in caller.get("/metrics").body.decode()


@cache
def bomb() -> bytes:
    """Pack 200 MiB only in the test that needs it: every process that collects tests builds the parameter lists."""
    return gzip.compress(bytes(200 << 20), 6)


@pytest.mark.parametrize(
    ("coding", "packed", "status", "message"),
    [
        ("gzip", bomb, 413, "too many unpacked bytes"),
        ("gzip", lambda: gzip.compress(bomb()), 400, "is not UTF-8"),
        ("deflate", lambda: zlib.compress(bytes(200 << 20), 1), 413, "too many unpacked bytes"),
        ("gzip", b"", 400, "body is truncated"),
        ("gzip", b"no gzip", 400, "does not match its Content-Encoding"),
        ("deflate", gzip.compress(TIGHT), 400, "does not match its Content-Encoding"),
        ("gzip", gzip.compress(TIGHT)[:-3], 400, "body is truncated"),
        ("gzip", gzip.compress(TIGHT) + b"more", 400, "data after its end"),
        ("gzip, gzip", TIGHT, 415, "is not supported"),
        ("br", TIGHT, 415, "is not supported"),
        ("x" * 5000, TIGHT, 415, "is not supported"),
    ],
    ids=lambda value: None if isinstance(value, bytes) or callable(value) else str(value)[:20],
)  # fmt: skip
def test_packed_bodies_are_unpacked_within_limits(
    caller: Caller, coding: str, packed: bytes | Callable[[], bytes], status: int, message: str
) -> None:
    body = packed if isinstance(packed, bytes) else packed()
    answer = caller.infer((body, {"Content-Encoding": coding}))
    assert (answer.status, message in answer.error) == (status, True), answer
    assert "dlrm_pl_held_body_bytes 0" in caller.get("/metrics").body.decode()


def test_nan_and_no_rows_are_no_errors(caller: Caller, artifact: Artifact) -> None:
    dense = np.full_like(DENSE, np.nan)
    np.testing.assert_array_equal(caller.infer(rows_binary(dense, IDS)).values(), artifact.predict((dense, IDS)))
    assert caller.infer(rows_binary(DENSE[:0], IDS[:0])).values().shape == (0,)
    nothing = {"dense": ("FP32", DENSE[:0]), "indices": ("INT64", []), "offsets": ("INT64", [0])}
    assert caller.infer(binary(nothing)).values().shape == (0,)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models", 404),
        ("GET", "/v2/models", 404),
        ("GET", f"/v2/models/{NAME}/versions", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
        ("GET", "/v2/models/\x00\x1b[2J", 404),
        ("GET", "/v2/models/none", 404),
        ("GET", f"/v2/models/{NAME}/infer", 405),
        ("POST", f"/v2/models/{NAME}", 405),
        ("DELETE", "/v2/health/live", 405),
        ("PUT", "/metrics", 405),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", f"/v2/models/{NAME}/versions/1/infer", 404),
        ("POST", "/v2/repository/models/none/load", 404),
        ("POST", f"/v2/repository/models/{NAME}/unload", 404),
    ],
)
def test_paths_and_methods_that_are_not_there(caller: Caller, method: str, path: str, status: int) -> None:
    answer = caller.get(path, method=method)
    assert answer.status == status
    assert answer.error.isprintable()
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("form", ["json", "binary", "fields", "bags"])
def test_damaged_bodies_get_an_answer_or_an_error(caller: Caller, form: str) -> None:
    bag = {"dense": ("FP32", DENSE), "indices": ("INT64", [1, 2]), "offsets": ("INT64", [0, 1, 1, 1, 2, 2, 2, 2, 2, 2])}
    good: Body = {"json": TIGHT, "binary": rows_binary(DENSE, IDS), "fields": fields(), "bags": binary(bag)}[form]
    body, headers = good if isinstance(good, tuple) else (good, {})
    assert caller.infer((body, headers)).status == 200
    rng = np.random.default_rng(len(form))
    for _ in range(250):
        damaged = bytearray(body)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(damaged)))
            kind = rng.integers(3)
            if kind == 0:
                damaged[at] = rng.integers(256)
            elif kind == 1:
                del damaged[at : at + int(rng.integers(1, 20))]
            else:
                damaged[at:at] = rng.bytes(int(rng.integers(1, 9)))
        answer = caller.infer((bytes(damaged), headers))
        assert answer.status in (200, 400, 413), damaged
        assert answer.status == 200 or answer.error
