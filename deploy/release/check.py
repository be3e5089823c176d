"""Install the packages of dist/ in fresh environments, and use them as a newcomer would: ``make dist-check``.

The files have to be those of SHA256SUMS. For each Python, with all dependencies: the wheel where there is no compiler;
the source distribution where there is none, with the fallbacks in Python; and the source distribution with a compiler,
if there is one here. All three have to predict the same. A Python for which torch is not to be installed tries what
works without torch.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.release.checkout import ROOT
from deploy.release.checksums import check_sums
from deploy.release.problem import ReleaseError
from deploy.release.programs import run

TORCH = {"torch", "pytorch-lightning", "torchmetrics"}
"""The dependencies that are torch or need it."""

LOADED = """
import ctypes, pathlib, dlrm_pl
folder = pathlib.Path(dlrm_pl.__file__).parent
for path in sorted(folder.rglob("_*.so")):
    version = ctypes.CDLL(str(path))[f"dlrm{path.stem}_version"]
    version.restype = ctypes.c_int64
    print(path.stem, version())
"""
"""Prints each native library and the version of its interface, which a function of the library returns."""

OPENMP = """
import re, pathlib, torch
from dlrm_pl.kernels.int8 import ops
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.kernels.training.selection import library
library(), torch.ones(2048, 2048) @ torch.ones(2048, 2048)
maps = pathlib.Path("/proc/self/maps").read_text()
print(isa(), *sorted(set(re.findall(r"\\S*lib(?:g|i)?omp\\S*", maps))))
"""
"""Prints the instruction set of the kernels, and the OpenMP runtimes of a process that has used them and torch."""


class Environment:
    """A virtual environment with nothing in it.

    Args:
        python: the Python that it is made with.
        folder: where it is made.
        others: another one, whose packages are found after its own.
    """

    def __init__(self, python: str, folder: Path, others: Environment | None = None) -> None:
        run([python, "-m", "venv", folder])
        self.folder = folder
        if others is not None:
            (self.packages / "others.pth").write_text(f"{others.packages}\n")

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        (found,) = (self.folder / "lib").glob("python*/site-packages")
        return found

    def install(self, *arguments: str | Path, compiler: bool = True) -> None:
        """What ``pip install`` does."""
        none = {} if compiler else {"CC": "/bin/false", "CXX": "/bin/false"}
        run([self.folder / "bin" / "python", "-m", "pip", "install", "--quiet", *arguments], environment=none)

    def use(self, program: str, *arguments: str, folder: Path, allowed: Sequence[int] = (0,)) -> str:
        """Run a program of the environment, which finds no other programs and none of the checkout."""
        variables = {"PATH": str(self.folder / "bin"), "PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
        return run([self.folder / "bin" / program, *arguments], folder, variables, allowed)


def check_whole(python: str, wheel: Path, sdist: Path, work: Path) -> list[str]:
    """Try the wheel and the source distribution with all dependencies; returns what was done, a line each."""
    work.mkdir()
    done = []
    first = Environment(python, work / "wheel")
    first.install("-c", ROOT / ".ci" / "constraints.txt", wheel)
    (folder := work / "folder").mkdir()
    first.use("dlrm-pl", "synthesize", "--output", "datasets/quickstart", "--rows", "20000", folder=folder)
    # 3 and 4: so few rows do not decide whether the int8 model is good enough.
    first.use("dlrm-pl", "fit", "-c", "quickstart", folder=folder, allowed=(0, 3, 4))
    expected = _predicted(first, folder, "wheel")
    done.append(f"wheel, no compiler: synthesize, fit, predict; {_kernels(first, folder, native=True)}")
    without = Environment(python, work / "without", first)
    without.install("--no-deps", sdist, compiler=False)
    if _predicted(without, folder, "without") != expected:
        raise ReleaseError(f"{python}: the fallbacks predict something else than the kernels")
    done.append(f"sdist, no compiler: the same predictions; {_kernels(without, folder, native=False)}")
    if shutil.which("c++"):
        compiled = Environment(python, work / "compiled", first)
        compiled.install("--no-deps", sdist)
        if _predicted(compiled, folder, "compiled") != expected:
            raise ReleaseError(f"{python}: the kernels of the source distribution predict something else")
        done.append(f"sdist, compiler: the same predictions; {_kernels(compiled, folder, native=True)}")
    else:
        done.append("sdist, compiler: not tried, since there is no c++ here")
    return done


def check_without_torch(python: str, wheel: Path, work: Path) -> list[str]:
    """Try what a wheel does without torch; returns what was done, a line each."""
    work.mkdir()
    environment = Environment(python, work / "environment")
    environment.install("--no-deps", wheel)
    stated = run([environment.folder / "bin" / "python", "-c", _REQUIRED]).splitlines()
    environment.install("-c", ROOT / ".ci" / "constraints.txt", *[name for name in stated if _name(name) not in TORCH])
    for words in (["--version"], ["--help"], ["configs", "list"], ["inspect", "--help"], ["configs", "copy"]):
        environment.use("dlrm-pl", *words, folder=work)
    libraries = environment.use("python", "-c", LOADED, folder=work).split()[::2]
    if len(libraries) != _libraries():
        raise ReleaseError(f"{python}: of {_libraries()} native libraries, these were loaded: {libraries}")
    return [f"wheel, without torch: --help, configs, inspect --help, and loaded and called {', '.join(libraries)}"]


_REQUIRED = (
    "from importlib.metadata import requires; print(*[r for r in requires('dlrm-pl') if 'extra' not in r], sep='\\n')"
)


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _libraries() -> int:
    return (ROOT / "pyproject.toml").read_text().count("[[tool.setuptools.ext-modules]]")


def _predicted(environment: Environment, folder: Path, name: str) -> bytes:
    output = f"predictions.{name}.csv"
    options = ["--artifact", "artifacts/quickstart", "--data", "datasets/quickstart", "--output", output]
    environment.use("dlrm-pl", "predict", *options, folder=folder)
    return (folder / output).read_bytes()


def _kernels(environment: Environment, folder: Path, native: bool) -> str:
    """Which kernels an environment has, if they are those that it should have and use torch's threads."""
    isa, *runtimes = environment.use("python", "-c", OPENMP, folder=folder).split()
    libraries = environment.use("python", "-c", LOADED, folder=folder).split()[::2]
    if len(libraries) != (_libraries() if native else 0) or native != (isa != "fallback"):
        raise ReleaseError(f"{environment.folder} has {isa} kernels and the libraries {libraries}")
    if len(runtimes) != 1 or "/torch" not in runtimes[0]:
        raise ReleaseError(f"a process has not one OpenMP runtime, that of torch, but these: {runtimes}")
    return f"{isa} kernels, {len(libraries)} native libraries, one OpenMP runtime: {Path(runtimes[0]).name} of torch"


def _packages(folder: Path) -> tuple[Path, Path]:
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        raise ReleaseError(
            f"{folder} has {len(wheels)} wheels and {len(sdists)} sdists. Empty it, and run `make dist`."
        )
    check_sums(folder, (wheels[0], sdists[0]))
    return wheels[0], sdists[0]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release.check", description=__doc__)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="folder of the packages (default: dist)")
    parser.add_argument("--python", action="append", default=[], help="a Python to try; again for more (default: this)")
    parser.add_argument("--without-torch", action="append", default=[], help="a Python to try without installing torch")
    options = parser.parse_args()
    whole = options.python or ([] if options.without_torch else [sys.executable])
    with tempfile.TemporaryDirectory(prefix="dist-check-") as work:
        try:
            wheel, sdist = (path.resolve() for path in _packages(options.dist))
            for number, python in enumerate([*whole, *options.without_torch]):
                print(run([python, "--version"]).strip(), flush=True)
                folder = Path(os.path.realpath(work)) / str(number)
                if number < len(whole):
                    lines = check_whole(python, wheel, sdist, folder)
                else:
                    lines = check_without_torch(python, wheel, folder)
                print("\n".join(f"  {line}" for line in lines), flush=True)
                shutil.rmtree(folder)
        except ReleaseError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
