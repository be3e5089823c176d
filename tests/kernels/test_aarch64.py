"""The native code for aarch64: compiled by a cross compiler, and the int8 kernels run by an emulator.

On Debian, ``apt install g++ g++-aarch64-linux-gnu qemu-user`` installs everything that these tests need.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "dlrm_pl" / "kernels" / "int8" / "cpp"
JOBS = 150

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not all(map(shutil.which, ("g++", CROSS, EMULATOR))), reason=f"needs g++, {CROSS} and {EMULATOR}"
    ),
]

EXTENSIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda extension: extension["name"].rpartition(".")[2])
def test_every_library_compiles(tmp_path: Path, extension: dict[str, list[str]]) -> None:
    flags = [*extension["extra-compile-args"], "-fPIC", "-shared", "-Wl,--no-undefined"]
    compile_with(CROSS, flags, extension["sources"], tmp_path / "library.so")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what plain C++ gives on this processor, by job. Other tests in this folder compare it with NumPy."""
    program = build("g++", tmp_path_factory.mktemp("here"))
    return {job: found for (job, variant), found in run([str(program)]).items() if variant == "generic"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CROSS, tmp_path_factory.mktemp("cross"))


@pytest.mark.parametrize(
    ("processor", "variants"),
    [
        ("cortex-a53", {"generic", "neon"}),
        ("neoverse-n1", {"generic", "neon", "neon_dotprod"}),
        ("max", {"generic", "neon", "neon_dotprod", "neon_i8mm"}),
    ],
)
def test_every_variant_gives_the_bits_of_plain_code(
    program: Path, expected: dict[str, str], processor: str, variants: set[str]
) -> None:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for (job, variant), result in run([EMULATOR, "-cpu", processor, str(program)]).items():
        found[variant][job] = result
    assert set(found) == variants
    for results in found.values():
        assert results == expected


def test_no_operation_is_undefined(tmp_path: Path, expected: dict[str, str]) -> None:
    checks = ["-fsanitize=undefined,bounds-strict,float-cast-overflow", "-fno-sanitize-recover=all"]
    for (job, _), result in run([EMULATOR, str(build(CROSS, tmp_path, *checks))]).items():
        assert result == expected[job]


def test_jobs_end_well_and_in_each_error(expected: dict[str, str]) -> None:
    kinds: dict[str, set[str]] = defaultdict(set)
    for job, result in expected.items():
        kinds[job.split()[0]].add(result.split()[0])
    assert {name: sorted(found) for name, found in kinds.items()} == {
        "mlp": ["0", "2"],
        "interaction": ["0", "1", "2"],
        "pooling": ["0", "1"],
        "cross": ["0", "1", "2"],
        "pack": ["0", "2"],
    }


def build(compiler: str, folder: Path, *checks: str) -> Path:
    """Compile the driver with the kernels as ``pyproject.toml`` does, except for flags that slow the compiler down."""
    kernels = next(extension for extension in EXTENSIONS if extension["name"] == "dlrm_pl.kernels._int8")
    flags = [flag for flag in kernels["extra-compile-args"] if flag not in ("-O3", "-fvisibility=hidden")]
    flags += ["-O2", "-w", f"-I{KERNELS}", *checks, *(["-static"] if compiler == CROSS else [])]
    driver = str(Path(__file__).parent / "aarch64" / "driver.cpp")
    compile_with(compiler, flags, [driver, *kernels["sources"]], folder / "driver")
    return folder / "driver"


def compile_with(compiler: str, flags: list[str], sources: list[str], output: Path) -> None:
    command = [compiler, *flags, "-o", str(output), *sources, "-ldl"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)


def run(command: list[str]) -> dict[tuple[str, str], str]:
    """Run the driver; returns the kind of error and the hash of the output by job and variant."""
    done = subprocess.run([*command, str(JOBS)], check=True, capture_output=True, text=True, timeout=600)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {(f"{name} {number}", variant): f"{kind} {hash_}" for name, number, variant, kind, hash_ in lines}
