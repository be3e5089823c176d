"""Everything except inference: health, tokens, HEAD, a stopping server, and unexpected errors."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from dlrm_pl.server.http.logs import JsonFormatter
from dlrm_pl.server.http.tokens import Token
from tests.support.server.artifacts import random_rows
from tests.support.server.calls import NAME, Caller, rows_binary

REQUEST = rows_binary(*random_rows(2))
SECRET = "0123456789abcdef-token"


def test_head_is_answered_as_get_without_a_body(caller: Caller) -> None:
    for path in ("/v2", "/v2/health/ready", "/metrics", f"/v2/models/{NAME}"):
        answer = caller.get(path, method="HEAD")
        assert (answer.status, answer.body) == (200, b"")
    assert caller.get(f"/v2/models/{NAME}/infer", method="HEAD").status == 405


def test_server_that_stops_answers_but_is_not_ready(served_folder: Path) -> None:
    with Caller({NAME: served_folder}) as caller:
        caller.application.is_draining = True
        assert caller.get("/v2/health/live").status == 200
        for path in ("/v2/health/ready", f"/v2/models/{NAME}/ready"):
            answer = caller.get(path)
            assert (answer.status, answer.contents["ready"]) == (503, False)
        answer = caller.infer(REQUEST)
        assert answer.status == 200
        assert answer.headers["connection"] == "close"


def test_token_is_required_everywhere_except_for_health(served_folder: Path) -> None:
    with Caller({NAME: served_folder}, token=Token(SECRET.encode())) as caller:
        paths = ("/v2", f"/v2/models/{NAME}", "/metrics", "/openapi.json", "/nothing")
        for path in paths:
            for given in ({}, {"Authorization": SECRET}, {"Authorization": f"Basic {SECRET}"},
                          {"Authorization": f"Bearer {SECRET}x"}, {"Authorization": "Bearer "}):  # fmt: skip
                answer = caller.get(path, given)
                assert answer.status == 401
                assert SECRET not in answer.error
        assert caller.infer(REQUEST).status == 401
        assert [caller.get(path, {"Authorization": f"Bearer {SECRET}"}).status for path in paths] == [200] * 4 + [404]
        assert {caller.get(f"/v2/health/{name}").status for name in ("live", "ready")} == {200}
        described = caller.get("/openapi.json", {"Authorization": f"Bearer {SECRET}"}).contents
        assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_error_that_nobody_foresaw_is_logged_and_told_without_details(
    served_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Caller({NAME: served_folder}) as caller:
        served = caller.registry.models[NAME].newest

        def fails(batch: object) -> object:
            raise RuntimeError("a secret of the server")

        monkeypatch.setattr(served.batcher, "_score", fails)
        answers = caller.infer_all([REQUEST, REQUEST])
        assert [answer.status for answer in answers] == [500, 500]
        assert "secret" not in answers[0].error
        assert "a secret of the server" in caplog.text
        monkeypatch.undo()
        assert caller.infer(REQUEST).status == 200
        assert "dlrm_pl_held_body_bytes 0" in caller.get("/metrics").body.decode()


def test_log_is_one_object_a_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "%s failed\n", ("it",), sys.exc_info())
    record.status = 500
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["message"], found["status"]) == ("error", "it failed\n", 500)
    assert "two\nlines" in found["traceback"]
    assert found["time"].endswith("+00:00")
