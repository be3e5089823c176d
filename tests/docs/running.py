"""Runs a page as its reader would: every block in order, in one initially empty folder."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dlrm_pl.cli import main as cli
from dlrm_pl.columns.columns import Columns
from dlrm_pl.migration.lpot.conf import translate
from tests.docs.pages import ROOT, Block, command_of, statements
from tests.support import tiny

_CALLBACK = "dlrm_pl.QuantizationCallback"
_RUN = {"trainer", "model", "data", "seed_everything"}
"""Keys of a run configuration; a YAML without them contains only settings of the callback."""


class PageError(AssertionError):
    """A block of a page does not do what the page says; the message begins with page and line."""


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run a command of this program in this process; returns its exit status and output."""
    output = io.StringIO()
    root = logging.getLogger()
    handlers, argv = root.handlers[:], sys.argv[:]
    sys.argv[:] = ["dlrm-pl"]
    # A separate handler, so that log messages are part of the returned output.
    root.handlers[:] = [logging.StreamHandler(output)]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = cli.main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        root.handlers[:], sys.argv[:] = handlers, argv
    return status, output.getvalue()


def run_page(blocks: list[Block], slow: bool, allowed: frozenset[int] = frozenset({0})) -> int:
    """Run or check every block in the current folder; returns how many were run.

    Args:
        blocks: the page's, in order.
        slow: also run the blocks that are marked ``slow``; otherwise they are only checked.
        allowed: exit statuses that commands may return.
    """
    with _server_stopped():
        return _run_blocks(_with_port(blocks, _free_port()), slow, allowed)


def _run_blocks(blocks: list[Block], slow: bool, allowed: frozenset[int]) -> int:
    names: dict[str, Any] = {"__name__": "__page__"}
    ran = 0
    for block in blocks:
        runs = not block.mark or (slow and block.mark == "slow")
        try:
            if block.file_name and not (block.mark and block.language == "sh"):
                Path(block.file_name).write_text(block.text)
                importlib.invalidate_caches()
            if block.language == "sh":
                for statement in statements(block.text):
                    (_run if runs else _check)(statement, allowed)
            elif block.language == "yaml":
                _check_yaml(block.text)
            elif block.language == "python":
                code = compile(block.text, block.place, "exec")
                if runs and not block.file_name:
                    with contextlib.redirect_stdout(io.StringIO()):
                        exec(code, names)
        except Exception as error:
            raise PageError(f"{block.place}: {type(error).__name__}: {error}") from error
        ran += runs and block.language in ("sh", "python")
    return ran


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _with_port(blocks: list[Block], port: int) -> list[Block]:
    """Replace the port in the blocks by a free one, because another program may use it."""
    return [
        replace(block, text=re.sub(r"(127\.0\.0\.1:|--port )8000\b", rf"\g<1>{port}", block.text)) for block in blocks
    ]


@contextlib.contextmanager
def _server_stopped() -> Iterator[None]:
    """Stop the server that a page started in the background if the page did not reach its end."""
    try:
        yield
    finally:
        if (noted := Path("server.pid")).is_file():
            number = int(noted.read_text())
            with contextlib.suppress(OSError):  # It has ended.
                if b"serve" in Path(f"/proc/{number}/cmdline").read_bytes():
                    os.kill(number, signal.SIGTERM)


def _run(statement: str, allowed: frozenset[int]) -> None:
    arguments = command_of(statement)
    if _is_setup(statement):
        _check(statement, allowed)
    elif arguments is not None and not _needs_a_shell(statement):
        arguments = [os.path.expandvars(argument) for argument in arguments]
        status, output = run_command(arguments)
        if status not in allowed:
            raise PageError(f"`{statement}` ended with {status}:\n{output}")
    else:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        text = re.sub(r"^python (benchmarks|examples|cli\.py)", rf"python {ROOT}/\1", statement)
        command = ["bash", "-euo", "pipefail", "-c", text]
        # When a reader such as `head` stops early, the writer exits with 141.
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode not in allowed | {141}:
            raise PageError(f"`{statement}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _check(statement: str, allowed: frozenset[int]) -> None:
    """Check a statement without running it: options with the real parser; targets, extras and scripts by name."""
    arguments = command_of(statement)
    if arguments is not None:
        check_command(arguments)
        return
    for words in _simple_commands(statement):
        _check_other(words)


def check_command(arguments: list[str]) -> None:
    """Let the real parser read a command's options and values."""
    if "--" in arguments:  # The rest is upstream's own command line.
        arguments = arguments[: arguments.index("--")]
    ends = [
        at for at, word in enumerate(arguments) if word in ("|", ">", "2>", "&&", ";") or word.startswith(("<<", ">("))
    ]
    arguments = arguments[: min(ends, default=len(arguments))]
    if not arguments or arguments[0].startswith("-") or {"--help", "--help_all"} & set(arguments):
        status, output = run_command(arguments)
    else:
        status, output = run_command([*arguments, "--print_config"])
    if status:
        raise PageError(f"`{shlex.join(arguments)}` is refused with {status}:\n{output}")


def _is_setup(statement: str) -> bool:
    """Tell whether a statement installs something that the tests' environment already has."""
    return statement.split()[0] in ("pip", "make", "git", ".", "python3")


def _needs_a_shell(statement: str) -> bool:
    words = shlex.split(statement.partition("\n")[0], comments=True)
    return "=" in words[0] or any(
        word in ("|", ">", "2>", "&&", "||", "&", ";") or word.startswith(("<", ">(")) for word in words
    )


def _simple_commands(statement: str) -> list[list[str]]:
    parts = re.split(r"&&|\|\|?|;", statement.partition("\n")[0])
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def _check_other(words: list[str]) -> None:
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        makefile = (ROOT / "Makefile").read_text()
        missing = [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
        assert not missing, f"the Makefile has no target {missing}"
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[([\w,]+)\]", " ".join(words))
        known = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        for extra in ",".join(extras).split(","):
            assert not extra or extra in known, f"there is no extra {extra!r}"
    elif words[0] == "python" and words[1:2] and words[1].endswith(".py"):
        # A block of the page may have been saved under this name.
        script = Path(words[1]).resolve() if Path(words[1]).is_file() else ROOT / words[1]
        assert script.is_file(), f"there is no {words[1]}"
        offered = _help_of_script(script)
        for option in (word.partition("=")[0] for word in words[2:] if word.startswith("--")):
            assert option in offered, f"{words[1]} has no option {option}"


@functools.cache
def _help_of_script(script: Path) -> str:
    """Return the source of a script, which contains its options as literals: running it for its help takes seconds."""
    source = script.read_text()
    return " ".join(node.value for node in ast.walk(ast.parse(source)) if _is_text(node))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _check_yaml(text: str) -> None:
    values = yaml.safe_load(text)
    assert isinstance(values, dict), "is no mapping"
    if {"dense", "sparse"} <= set(values):
        Columns.of_statement(values, "columns")
        return
    if "tuning" in values or "quantization" in values:
        translate(values, "conf.yaml", tiny.ARCHITECTURE)
        return
    if set(values) == {"space"}:
        with _temporary_yaml(text) as name:
            check_command(["sweep", "-c", "quickstart", "-c", name, "--output", "sweeps/x"])
        return
    if not _RUN & set(values):
        callback = {"class_path": _CALLBACK, "init_args": {"output": "artifacts/x"} | values}
        text = yaml.safe_dump({"trainer": {"callbacks+": [callback]}})
    with _temporary_yaml(text) as name:
        check_command(["fit", "-c", "quickstart", "-c", name])


@contextlib.contextmanager
def _temporary_yaml(text: str) -> Iterator[str]:
    path = Path(".page.yaml")
    path.write_text(text)
    try:
        yield str(path)
    finally:
        path.unlink()


def metrics_of(artifact: Path) -> dict[str, Any]:
    """Return the certificate of an artifact as a program reads it."""
    return dict(json.loads((artifact / "certificate.json").read_text()))
