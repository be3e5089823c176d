"""The command ``serve``: its options, and a process that is asked to stop."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support.artifacts import build
from tests.support.commands import expect_error
from tests.support.processes.forked import Forked, forked_command
from tests.support.server.calls import rows_binary
from tests.support.server.wire import message, read_answer
from tests.support.tiny import ARCHITECTURE

ROWS = rows_binary([[0] * ARCHITECTURE.bottom_mlp[0]], [[0] * ARCHITECTURE.num_tables])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("served") / "tiny").path


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], r"nothing to serve: give --artifact DIR, or --model NAME=DIR"),
        (["--artifact", "none"], r"none: does not exist\. Give a folder that `quantize` wrote"),
        (["--artifact", "."], r"is not an artifact, because manifest\.json is missing"),
        (["--model", "clicks"], r"model='clicks' must be NAME=DIR"),
        (["--model", "../x=a"], r"model='\.\./x=a' must be NAME=DIR, where NAME consists of letters"),
        (["--model", "[a=b,a=c]"], r"two models named 'a'"),
        (["--model", "a=b", "--model=c=d", "--model", "[e=f,a=g]"], r"model='a=g': there are two models named 'a'"),
        (["--artifact", "none", "--port", "70000"], r"port=70000 must be at most 65535"),
        (["--artifact", "none", "--host", "no such host"], r"host=no such host, .*The --host must be an address of"),
        (["--artifact", "none", "--threads", "0"], r"threads=0 must be at least 1"),
        (["--artifact", "none", "--max_body_mb", "0"], r"max_body_mb=0.0 must be above 0"),
        (["--artifact", "none", "--queue_rows", "-1"], r"queue_rows=-1 must be at least 0"),
        (["--artifact", "none", "--queue_rows", "99"], r"queue_rows=99 is below max_rows=8192: .*lower --max_rows"),
        (["--artifact", "none", "--token_file", "none"], r"token_file=none: cannot be read \(No such file"),
    ],
)
def test_wrong_options_are_told_in_one_line(
    options: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    expect_error(capsys, error, "serve", *options)


def test_address_in_use_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = rf"port={port}: cannot listen on this address \(Address already in use\)"
        expect_error(capsys, error, "serve", "--artifact", "x", "--port", port)


@pytest.mark.parametrize(
    ("contents", "mode", "error"),
    [
        ("short\n", 0o600, "must hold one line of 16 to 4,096 visible ASCII characters"),
        ("0123456789 abcdefghij\n", 0o600, "must hold one line"),
        ("0123456789abcdef" * 2, 0o604, "other users can read or write it. Run: chmod 600"),
    ],
)
def test_token_that_protects_nothing_is_refused(
    contents: str, mode: int, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(contents)
    (tmp_path / "token").chmod(mode)
    expect_error(capsys, error, "serve", "--artifact", tmp_path, "--token_file", tmp_path / "token")


@pytest.mark.parametrize("library", ["uvicorn", "uvloop", "httptools"])
def test_missing_library_names_the_extra(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    expect_error(
        capsys, rf"serve needs uvicorn.*{library}.*pip install \"dlrm-pl\[serve\]\"", "serve", "--artifact", "x"
    )


def started(*options: object) -> tuple[Forked, int]:
    """Start a process that serves, and yield it with its port."""
    process = forked_command("serve", "--port", 0, *options)
    end = time.monotonic() + 120
    while not (found := re.search(r"at http://127\.0\.0\.1:(\d+)\n", process.output())):
        assert process.poll() is None, process.errors()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process, int(found[1])


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.touch(0o600)
    path.write_text("0123456789abcdef-token\n")
    return path


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_process_serves_until_a_signal_and_says_so(folder: Path, token: Path, number: int, status: int) -> None:
    process, port = started("--artifact", folder, "--token_file", token, "--log_requests")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(message("/v2/health/ready", b"", {}, "GET"))
        assert read_answer(sock).status == 200
        for headers, expected in (({}, 401), ({"Authorization": "Bearer other-token-of-some-length"}, 401),
                                  ({"Authorization": "bearer 0123456789abcdef-token"}, 200)):  # fmt: skip
            sock.sendall(message("/v2/models/tiny/infer", ROWS[0], ROWS[1] | headers))
            answer = read_answer(sock)
            assert answer.status == expected
            assert (answer.headers.get("www-authenticate") == "Bearer") == (expected == 401)
        process.send_signal(signal.SIGHUP)
        process.send_signal(number)
        assert process.wait(60) == status
        assert sock.recv(1) == b""
    lines = [json.loads(line) for line in process.errors().splitlines()]
    assert {"level", "message", "time"} <= lines[0].keys()
    assert [line["status"] for line in lines if "status" in line] == [200, 401, 401, 200]
    assert any("answering pending requests, then stopping" in line["message"] for line in lines)
    assert "0123456789abcdef-token" not in process.errors() + process.output()
