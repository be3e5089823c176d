"""Run the commands of docs/tutorial.md, and measure what each of its steps takes.

    PYTHONPATH=. python benchmarks/tutorial.py

Measures seconds on the clock and of the processor, the peak memory of a process (that of the server as Linux reports it
while it runs), and the bytes that the step leaves in the folder. Prints a table for the page, and a JSON object as its
last line. The commands are those of this checkout. Takes one to three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, Block, blocks_of, statements

PAGE = ROOT / "docs" / "tutorial.md"
_KEPT = 1500  # Characters at the end of what a command prints.


@dataclass
class Step:
    """What one section of the page took."""

    name: str
    seconds: float = 0.0
    processor_s: float = 0.0
    peak_memory_bytes: int = 0
    new_bytes: int = 0
    commands: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def steps_of(page: Path) -> dict[str, list[Block]]:
    """Return the blocks of each numbered section."""
    headings = [
        (text.count("\n", 0, at.start()) + 1, at[1]) for text in [page.read_text()] for at in _HEADING.finditer(text)
    ]
    found: dict[str, list[Block]] = {name: [] for _, name in headings}
    for block in blocks_of(page):
        name = next(name for line, name in reversed(headings) if line <= block.line)
        found[name].append(block)
    return found


_HEADING = re.compile(r"^## (\d+\. .*)$", re.MULTILINE)


def run(statement: str, step: Step, environment: dict[str, str]) -> None:
    """Run a statement as a reader's shell would, and add what it took.

    Raises:
        RuntimeError: it failed.
    """
    server = _server_memory()
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", statement], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        step.seconds += time.perf_counter() - began
        output.seek(0)
        step.outputs.append(output.read()[-_KEPT:])
        if process.returncode:
            raise RuntimeError(f"`{statement}` ended with {process.returncode}:\n{step.outputs[-1]}")
    step.processor_s += used.ru_utime + used.ru_stime
    step.peak_memory_bytes = max(step.peak_memory_bytes, used.ru_maxrss * 1024, server)
    step.commands.append(statement)


def _server_memory() -> int:
    """Return the largest memory so far of the server that the page has started; 0 if there is none."""
    noted = Path("server.pid")
    status = Path(f"/proc/{noted.read_text().strip()}/status") if noted.is_file() else Path("/nowhere")
    if not status.is_file():
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def folder_bytes() -> int:
    """Return the bytes of all files in the folder; those with several names count once."""
    files = {(found.st_dev, found.st_ino): found.st_size for found in map(os.stat, _files())}
    return sum(files.values())


def _files() -> list[Path]:
    return [path for path in Path().rglob("*") if path.is_file() and not path.is_symlink()]


def measure(folder: Path) -> list[Step]:
    """Run the page in a folder."""
    os.chdir(folder)
    tools = folder / ".tools"
    tools.mkdir()
    (tools / "dlrm-pl").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/cli.py" "$@"\n')
    (tools / "python").symlink_to(sys.executable)
    (tools / "dlrm-pl").chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    found = []
    try:
        for name, blocks in steps_of(PAGE).items():
            step, before = Step(name), folder_bytes()
            for block in blocks:
                if block.file_name:
                    Path(block.file_name).write_text(block.text)
                elif block.language == "sh":
                    for statement in statements(block.text):
                        run(statement, step, environment)
            step.new_bytes = folder_bytes() - before
            print(f"{name}: {step.seconds:.1f} s", file=sys.stderr)
            found.append(step)
    finally:
        if Path("server.pid").is_file() and _server_memory():  # It still runs, as after an error.
            os.kill(int(Path("server.pid").read_text()), signal.SIGTERM)
    return found


def table(steps: list[Step]) -> str:
    """Return the steps as a table in Markdown."""
    lines = ["| step | seconds | processor seconds | peak memory, MB | new files, MB |", "|---|---|---|---|---|"]
    for step in steps:
        size = f"{step.new_bytes / 1e6:.1f}" if step.new_bytes >= 1e5 else "0"
        lines.append(
            f"| {step.name.partition('. ')[2]} | {step.seconds:.1f} | {step.processor_s:.1f} | "
            f"{step.peak_memory_bytes / 1e6:.0f} | {size} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path.cwd()
        try:
            steps = measure(Path(folder))
        finally:
            os.chdir(home)
    print(table(steps))
    # Imported only here: a process is charged with the memory of the one that started it, which torch would enlarge.
    from machine import machine

    result: dict[str, Any] = {"machine": machine(), "steps": [asdict(step) for step in steps]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
