"""Sources of native code are compiled in parallel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

pytest.importorskip("setuptools")

from setuptools import Distribution

from native_build import BuildNative, BuildWheel, at_once


def test_sources_are_compiled_in_parallel_and_linked_in_order() -> None:
    both = Barrier(2)

    def compile_sources(sources: list[str], **options: Any) -> list[str]:
        if sources != ["c.cpp"]:
            both.wait(timeout=60)
        return [f"{options['output_dir']}/{Path(source).stem}.o" for source in sources]

    with ThreadPoolExecutor(2) as pool:
        objects = at_once(compile_sources, pool)(["a.cpp", "b.cpp", "c.cpp"], output_dir="out")
    assert objects == ["out/a.o", "out/b.o", "out/c.o"]


def test_error_of_one_source_fails_the_build() -> None:
    def compile_sources(sources: list[str]) -> list[str]:
        if sources == ["b.cpp"]:
            raise RuntimeError("b.cpp does not compile")
        return ["a.o"]

    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match=r"b.cpp does not compile"):
        at_once(compile_sources, pool)(["a.cpp", "b.cpp"])


def test_libraries_and_wheels_are_those_of_every_python() -> None:
    distribution = Distribution({"name": "a", "version": "1"})
    distribution.has_ext_modules = lambda: True  # type: ignore[method-assign]
    assert BuildNative(distribution).get_ext_filename("dlrm_pl.kernels._int8") == "dlrm_pl/kernels/_int8.so"
    command = BuildWheel(distribution)
    command.ensure_finalized()
    python, abi, platform = command.get_tag()
    assert (python, abi) == ("py3", "none")
    assert platform.startswith("linux_")
