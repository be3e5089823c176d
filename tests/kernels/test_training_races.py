"""The threads of a training step share their memory without races: its code runs under ThreadSanitizer.

On Debian, ``apt install g++`` installs everything that these tests need.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ROOT / "dlrm_pl" / "kernels" / "training" / "cpp"
FOUND = 66
"""Exit status of a program in which ThreadSanitizer found a race."""


def has_sanitizer() -> bool:
    if shutil.which("g++") is None:
        return False
    command = ["g++", "-print-file-name=libtsan.so"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()).is_absolute()


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not has_sanitizer(), reason="needs g++ with libtsan"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the driver with the native training step, using a software stand-in for AMX."""
    extensions = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    training = next(extension for extension in extensions if extension["name"] == "dlrm_pl.kernels._training")
    flags = [flag for flag in training["extra-compile-args"] if flag not in ("-O3", "-g0")]
    flags += ["-O1", "-g", "-w", "-fsanitize=thread", "-include", "tests/fuzz/tiles.h", f"-I{CODE}", "-rdynamic"]
    program = tmp_path_factory.mktemp("races") / "driver"
    sources = [str(Path(__file__).parent / "races" / "driver.cpp"), *training["sources"]]
    command = ["g++", *flags, "-o", str(program), *sources, "-ldl", "-pthread"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=1200)
    return program


def run(program: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=1200)
    return done.returncode, done.stdout + done.stderr


def test_steps_on_several_threads_have_no_races_and_the_bits_of_one_thread(driver: Path) -> None:
    status, text = run(driver)
    assert status == 0, text[:5000]
    for what in ("generic, fp32, sgd", "generic, bf16, lamb, cross layers", "generic, fp32, no such row"):
        assert f"{what}: same" in text
    assert text.splitlines()[-1] == "all as one thread"


def test_a_race_would_be_found(driver: Path) -> None:
    status, text = run(driver, "race")
    assert status == FOUND
    assert "data race" in text
