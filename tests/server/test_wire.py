"""Behaviour visible only on a socket: invalid HTTP, request smuggling, and slow clients."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.artifact.store import Artifact
from dlrm_pl.server.settings import Limits
from tests.support.server.artifacts import random_rows
from tests.support.server.calls import NAME, rows_binary
from tests.support.server.running import Running, running
from tests.support.server.wire import answers, message, read_answer

PATH = f"/v2/models/{NAME}/infer"
LIMITS = Limits(connections=12, request_s=1.0, idle_s=1.5, body_bytes=1 << 20, head_bytes=4096, drain_s=5)
GOOD = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"inputs":[]}'


@pytest.fixture(scope="module")
def server(served_folder: Path) -> Iterator[Running]:
    with running({NAME: served_folder}, limits=LIMITS) as found:
        yield found


@pytest.fixture(autouse=True)
def _still_answers(server: Running) -> Iterator[None]:
    """Check that the next client is answered, whatever was sent."""
    yield
    with server.connect() as sock:
        sock.sendall(GOOD)
        assert read_answer(sock).status == 200


def post(headers: str, body: bytes = BODY) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body


SMUGGLING = {
    "two lengths": post("Content-Length: 13\r\nContent-Length: 0\r\n"),
    "length and chunks": post("Content-Length: 13\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunks and length": post("Transfer-Encoding: chunked\r\nContent-Length: 13\r\n", b"0\r\n\r\n"),
    "negative length": post("Content-Length: -13\r\n"),
    "length with a sign": post("Content-Length: +13\r\n"),
    "hexadecimal length": post("Content-Length: 0xd\r\n"),
    "length of two numbers": post("Content-Length: 13, 13\r\n"),
    "length beyond 64 bits": post(f"Content-Length: {2**64 + 13}\r\n"),
    "space before the colon": post("Content-Length : 13\r\n"),
    "folded header": post("X: a\r\n b\r\nContent-Length: 13\r\n"),
    "line of line feeds": post("Content-Length: 13\r\n").replace(b"\r\n", b"\n"),
    "chunk of no size": post("Transfer-Encoding: chunked\r\n", b"zz\r\nabc\r\n0\r\n\r\n"),
    "chunk of a negative size": post("Transfer-Encoding: chunked\r\n", b"-1\r\nabc\r\n0\r\n\r\n"),
    "chunk beyond 64 bits": post("Transfer-Encoding: chunked\r\n", b"f" * 17 + b"\r\nabc"),
    "chunk longer than it says": post("Transfer-Encoding: chunked\r\n", b"2\r\nabcdef\r\n0\r\n\r\n"),
    "chunks twice": post("Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "unknown coding": post("Transfer-Encoding: gzip\r\n", BODY),
    "coding after chunks": post("Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "null in a header": post("X: a\0b\r\nContent-Length: 13\r\n"),
    "no host": f"POST {PATH} HTTP/1.1\r\nContent-Length: 13\r\n\r\n".encode() + BODY,
    "two hosts": post("Host: x\r\nContent-Length: 13\r\n"),
    "list of hosts": post("Content-Length: 13\r\n").replace(b"Host: x", b"Host: x, y"),
    "two hosts in HTTP/1.0": post("Host: y\r\nContent-Length: 13\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "chunks in HTTP/1.0": post("Transfer-Encoding: chunked\r\n", b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no version": f"POST {PATH}\r\n\r\n".encode(),
    "another version": f"POST {PATH} HTTP/3.7\r\nHost: x\r\n\r\n".encode(),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b" " + GOOD,
    "unknown method": b"STEAL /v2 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("shape", SMUGGLING)
def test_what_is_no_request_gets_one_error_and_nothing_after_it(server: Running, shape: str) -> None:
    # If any of the bytes were left for another request, the request after them would be answered.
    found = answers(server, SMUGGLING[shape] + GOOD)
    assert [answer.status for answer in found] == [400], found
    assert "not valid HTTP" in found[0].error


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize("shape", ["two lengths", "no host", "chunk of no size", "another protocol"])
def test_error_behind_requests_comes_after_their_answers(server: Running, shape: str, before: int, stop: bool) -> None:
    found = answers(server, GOOD * before + SMUGGLING[shape] + GOOD, stop=stop)
    assert [answer.status for answer in found] == [200] * before + [400]
    assert found[0].contents == {"live": True}
    assert "not valid HTTP" in found[-1].error


@pytest.mark.parametrize("codings", ["gzip, chunked", "identity, chunked", "gzip\r\nTransfer-Encoding: chunked"])
def test_chunks_in_another_coding_are_not_read_as_plain_ones(server: Running, codings: str) -> None:
    found = answers(server, post(f"Transfer-Encoding: {codings}\r\n", b"d\r\n" + BODY + b"\r\n0\r\n\r\n") + GOOD)
    assert [answer.status for answer in found] == [501]
    assert found[0].headers["connection"] == "close"


@pytest.mark.parametrize("split", [False, True])
def test_offer_of_another_protocol_is_ignored(server: Running, artifact: Artifact, split: bool) -> None:
    """Java's client offers HTTP/2 with every first request."""
    part = random_rows(2)
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAB"}
    body, headers = rows_binary(*part)
    sent = message(PATH, body, headers | offer)
    if not split:
        found = answers(server, sent + GOOD, stop=True)
        assert len(found) == 2
        np.testing.assert_array_equal(found[0].values(), artifact.predict(part))
        return
    with server.connect() as sock:
        at = sent.index(b"Upgrade: h2c") + 3
        sock.sendall(sent[:at])
        time.sleep(0.1)
        sock.sendall(sent[at:])
        # The parser saw it, so the body is lost, which is an error, and the connection is closed.
        answer = read_answer(sock)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [404, 200]),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
        (b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"GET /v2/\xff HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"GET /v2/models/%2e%2e%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", [404, 200]),
        (b"TRACE /v2 HTTP/1.1\r\nHost: x\r\n\r\n", [405, 200]),
        (b"GET /v2 HTTP/1.0\r\n\r\n", [200]),
        (f"GET /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD, [200, 200]),
        (post("Inference-Header-Content-Length: 1\r\n" * 2 + "Content-Length: 13\r\n"), [400, 200]),
        (post("Content-Encoding: gzip\r\nContent-Encoding: br\r\nContent-Length: 13\r\n"), [400, 200]),
    ],
)  # fmt: skip
def test_odd_requests_get_one_answer_each(server: Running, sent: bytes, statuses: list[int]) -> None:
    assert [answer.status for answer in answers(server, sent + GOOD, stop=True)] == statuses


def test_requests_in_a_row_are_answered_in_order(server: Running, artifact: Artifact) -> None:
    parts = [random_rows(count) for count in (1, 100, 3)]
    sent = b"".join(message(PATH, *rows_binary(*part, id=str(number))) for number, part in enumerate(parts))
    found = answers(server, sent, stop=True)
    assert len(found) == len(parts)
    for number, (part, answer) in enumerate(zip(parts, found, strict=True)):
        assert f'"id":"{number}"'.encode() in answer.body
        np.testing.assert_array_equal(answer.values(), artifact.predict(part))


def test_no_more_than_some_requests_are_read_ahead(server: Running) -> None:
    found = answers(server, GOOD * 1000)
    assert 64 <= len(found) <= 66
    assert {answer.status for answer in found} == {200}


def test_a_request_byte_by_byte_is_answered(server: Running) -> None:
    with server.connect() as sock:
        for byte in GOOD:
            sock.sendall(bytes([byte]))
        assert read_answer(sock).status == 200


def test_chunks_are_read_like_a_body(server: Running, artifact: Artifact) -> None:
    part = random_rows(2)
    body, headers = rows_binary(*part)
    length = headers["Inference-Header-Content-Length"]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50))
    head = f"Transfer-Encoding: chunked\r\nInference-Header-Content-Length: {length}\r\n"
    found = answers(server, post(head, chunks + b"0\r\n\r\n"), stop=True)
    np.testing.assert_array_equal(found[0].values(), artifact.predict(part))


def test_trailers_are_not_headers(server: Running, artifact: Artifact) -> None:
    part = random_rows(2)
    body, headers = rows_binary(*part)
    length = headers["Inference-Header-Content-Length"]
    head = f"Transfer-Encoding: chunked\r\nInference-Header-Content-Length: {length}\r\n"
    sent = post(head, b"%x\r\n%s\r\n0\r\nContent-Encoding: br\r\nHost: y\r\n\r\n" % (len(body), body))
    found = answers(server, sent + GOOD, stop=True)
    assert [answer.status for answer in found] == [200, 200]
    np.testing.assert_array_equal(found[0].values(), artifact.predict(part))


@pytest.mark.parametrize("trailer", [b"X: " + b"a" * (1 << 20), b"X: a\r\n" * 200_000])
def test_endless_trailers_are_refused(server: Running, trailer: bytes) -> None:
    found = answers(server, post("Transfer-Encoding: chunked\r\n", b"0\r\n") + trailer)
    assert [answer.status for answer in found] == [431]


@pytest.mark.parametrize(
    "sent",
    [
        post(f"Content-Length: {2 << 20}\r\n", bytes(2 << 20)),
        post("Transfer-Encoding: chunked\r\n", b"200000\r\n" + bytes(2 << 20)),
    ],
    ids=["stated", "chunked"],
)  # fmt: skip
def test_large_body_is_refused_while_it_comes(server: Running, sent: bytes) -> None:
    found = answers(server, sent)
    assert [answer.status for answer in found] == [413]
    assert "at most 1,048,576 are accepted" in found[0].error
    assert ("has 2,097,152 bytes" in found[0].error) == (b"Content-Length" in sent)
    assert found[0].headers["connection"] == "close"


@pytest.mark.parametrize(
    "head",
    [b"GET /" + b"a" * 9000, b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 9000, b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 2000],
)
@pytest.mark.parametrize(("before", "end"), [(0, b""), (0, b"\r\n\r\n"), (1, b"\r\n\r\n"), (0, b"\r\n\r\n" + GOOD)])
def test_large_head_is_refused(server: Running, head: bytes, end: bytes, before: int) -> None:
    if b"HTTP" not in head and end:
        end = b" HTTP/1.1" + end
    elif end:
        head = head.removesuffix(b"\r\n") + b"\r\nHost: x"
    found = answers(server, GOOD * before + head + end)
    assert [answer.status for answer in found] == [200] * before + [431]
    assert "more than 4,096 bytes" in found[-1].error


@pytest.mark.parametrize(
    "part", [b"GET /v2/hea", post("Content-Length: 13\r\n", b"{"), post("Transfer-Encoding: chunked\r\n", b"5\r\nab")]
)
def test_client_that_does_not_go_on_is_told_and_cut_off(server: Running, part: bytes) -> None:
    began = time.monotonic()
    found = answers(server, part)
    assert [answer.status for answer in found] == [408]
    assert "did not arrive within 1 seconds" in found[0].error
    assert 0.9 < time.monotonic() - began < 8


def test_connection_that_is_not_used_is_closed(server: Running) -> None:
    with server.connect() as never, server.connect() as idle:
        idle.sendall(GOOD)
        assert read_answer(idle).status == 200
        began = time.monotonic()
        assert never.recv(1) == b""
        assert idle.recv(1) == b""
        assert 1.4 < time.monotonic() - began < 8


def test_client_that_goes_before_its_answer_leaves_nothing_behind(server: Running) -> None:
    for _ in range(10):
        with server.connect() as sock:
            sock.sendall(message(PATH, *rows_binary(*random_rows(3)))[:-5])
    end = time.monotonic() + 10
    while (text := _metrics(server)) and "dlrm_pl_held_body_bytes 0" not in text:
        assert time.monotonic() < end, text


def _metrics(server: Running) -> str:
    with server.connect() as sock:
        sock.sendall(message("/metrics", b"", {}, "GET"))
        return read_answer(sock).body.decode()


def test_client_that_takes_no_answers_is_cut_off(server: Running) -> None:
    before = server.metrics.refused_connections["slow"]
    with socket.socket() as sock:
        # Set before connecting, so that the other side also has little room for answers.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(message("/openapi.json", b"", {}, "GET") * 60)
        end = time.monotonic() + 20
        while server.metrics.refused_connections["slow"] == before:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_more_connections_than_allowed_are_refused(server: Running) -> None:
    socks = [server.connect() for _ in range(LIMITS.connections)]
    try:
        for sock in socks:
            sock.sendall(GOOD)
            assert read_answer(sock).status == 200
        with server.connect() as sock:
            answer = read_answer(sock)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert "already has 12 connections" in json.loads(answer.body)["error"]
    finally:
        for sock in socks:
            sock.close()
    time.sleep(0.3)
