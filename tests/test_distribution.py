"""Built packages work without the sources: a source distribution, and a wheel made from it and installed elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    ".ci",
    ".dockerignore",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "benchmarks",
    "cli.py",
    "configs",
    "deploy",
    "dlrm_pl",
    "docs",
    "LICENSE",
    "Makefile",
    "MANIFEST.in",
    "mkdocs.yml",
    "README.md",
    "native_build.py",
    "requirements",
    "tests",
)


def build(what: str, sources: Path, target: Path) -> Path:
    """Call one of setuptools' hooks, as pip does."""
    program = f"from setuptools import build_meta; print('built', build_meta.build_{what}({str(target)!r}))"
    ended = subprocess.run([sys.executable, "-c", program], cwd=sources, check=True, capture_output=True, text=True)
    return target / ended.stdout.split()[-1]


@pytest.mark.slow
def test_wheel_of_the_source_distribution_runs_where_there_are_no_sources(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    sources = tmp_path / "sources"
    sources.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in (*SOURCES, "pyproject.toml"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, sources / name, symlinks=True, ignore=ignored)
        else:
            shutil.copyfile(path, sources / name)
    with tarfile.open(build("sdist", sources, tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for path in sources.rglob("*"):
        if path.is_file() and ".egg-info" not in str(path) and "build" not in path.parts:
            assert (unpacked / path.relative_to(sources)).is_file(), path
    wheel = build("wheel", unpacked, tmp_path)
    # Nothing in it depends on the Python version.
    assert "-py3-none-" in wheel.name
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    # This environment's packages come after its own, so its dependencies need not be downloaded.
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    pip = [tmp_path / "venv" / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    shutil.rmtree(sources)
    shutil.rmtree(unpacked)
    (elsewhere := tmp_path / "elsewhere").mkdir()

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [tmp_path / "venv" / "bin" / "dlrm-pl", *args]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=250)

    made = run("synthesize", "--output", "datasets/quickstart", "--rows", "2000")
    assert made.returncode == 0, made.stderr
    fitted = run("fit", "-c", "quickstart", "--trainer.max_steps", "3", "--trainer.callbacks", "null")
    assert fitted.returncode == 0, fitted.stderr
    assert "`dlrm-pl quantize --help` explains every option" in run("quantize", "--hlp").stderr
    assert run("configs", "copy").returncode == 0
    assert (elsewhere / "configs/model/quickstart.yaml").read_bytes() == (
        ROOT / "configs/model/quickstart.yaml"
    ).read_bytes()
    python = [
        tmp_path / "venv" / "bin" / "python",
        "-c",
        "import dlrm_pl; from dlrm_pl.kernels.int8.selection import isa; print(dlrm_pl.__file__, isa())\n"
        "from dlrm_pl.pages.page import environment\n"
        "environment('dlrm_pl.artifact.report').get_template('report.html.jinja')",
    ]
    loaded = subprocess.run(python, cwd=elsewhere, capture_output=True, text=True, check=True).stdout.split()
    assert Path(loaded[0]).is_relative_to(tmp_path / "venv")
    assert loaded[1] != "fallback" or shutil.which("c++") is None
