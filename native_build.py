"""How setuptools compiles and packs the native code.

All sources are compiled at once, on as many processors as there are: by itself setuptools compiles one source after
another, however many processors wait.

The libraries are plain shared libraries that ctypes loads. They use nothing of Python's own interface, so neither their
names nor the wheel's states a version of Python: one wheel serves all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

Compile = Callable[..., list[str]]


def at_once(compile_sources: Compile, pool: ThreadPoolExecutor) -> Compile:
    """A compiler's method `compile` that gives each source to the pool, and returns the objects in order."""

    def compile_each(sources: Sequence[str], **options: Any) -> list[str]:
        compiled = pool.map(lambda source: compile_sources([source], **options), sources)
        return [path for paths in compiled for path in paths]

    return compile_each


class BuildNative(build_ext):
    """The command `build_ext` with a pool of compilers that all extensions share."""

    def build_extensions(self) -> None:
        """Compile and link the extensions, of which each may fail by itself where it is optional."""
        self.parallel = self.parallel or max(1, len(self.extensions))  # Threads, which for the most part wait.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            self.compiler.compile = at_once(self.compiler.compile, pool)
            super().build_extensions()

    def get_ext_filename(self, fullname: str) -> str:
        """``dlrm_pl/kernels/_int8.so`` for ``dlrm_pl.kernels._int8``, without the version of Python."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))


class BuildWheel(bdist_wheel):
    """The command `bdist_wheel` for libraries that depend on the processor and on glibc, but not on Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python 3 and any ABI of it; the platform is the builder's."""
        *_, platform = super().get_tag()
        return "py3", "none", platform
