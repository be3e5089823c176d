"""How setuptools compiles the native code: all sources at once, on as many processors as there are.

By itself setuptools compiles one source after another, however many processors wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
