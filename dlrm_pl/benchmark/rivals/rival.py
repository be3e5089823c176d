"""A rival: a contender that another program serves; its failure is reported as a reason and affects nothing else."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.contenders import Contender
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.benchmark.unavailable import UnavailableError, missing_memory
from dlrm_pl.errors import DLRMError

Load = Callable[[ClickBatch], Scorer]
"""Loads a built model for batches of one size, given an example batch, and the current number of threads."""

EXTRA = "rivals"
# The reason goes into one line of a table, but compilers print whole pages.
_REASON_LENGTH = 300


def _nothing() -> Load:
    raise NotImplementedError("a rival without a program")


@dataclass(frozen=True)
class Rival(Contender):
    """A contender that another program serves.

    Attributes:
        build: exports, quantizes and converts the float model; called once.
        memory: number of bytes that the built and loaded model needs in addition to the float model.
    """

    build: Callable[[], Load] = _nothing
    memory: int = 0
    may_differ: bool = True

    def prepare(self, batch: ClickBatch) -> Scorer:
        """Build the model, unless it is already built, and load it for batches of this size.

        Raises:
            UnavailableError: the program failed, or there is not enough memory. The returned callable raises it too.
        """
        with self._failures(), quiet():
            score = self._load(batch)

        def guarded(batch: ClickBatch) -> Tensor:
            with self._failures():
                logits: Tensor = score(batch)
            return logits

        return guarded

    @cached_property
    def _load(self) -> Load:
        if reason := missing_memory("its copy of the model", self.memory):
            raise UnavailableError(reason)
        return self.build()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn any exception of another program into the reason why it is not timed."""
        try:
            yield
        except Exception as error:
            raise UnavailableError(reason_of(error), self.name) from error


def reason_of(error: Exception) -> str:
    """Return the first informative line of an error, with its class unless the error is one of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0][:_REASON_LENGTH] if lines else "with no message"
    return text if isinstance(error, UnavailableError | DLRMError) else f"{type(error).__name__}: {text}"


def missing_packages(modules: dict[str, str]) -> str:
    """Return which packages are not installed, and how to install them; empty if all are.

    Args:
        modules: package names by the names of modules in them.
    """
    missing = [package for module, package in modules.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return ""
    verb = "is" if len(missing) == 1 else "are"
    return f'{" and ".join(missing)} {verb} not installed. Install the extra: pip install "dlrm-pl[{EXTRA}]"'


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide log lines, warnings and progress bars of other programs, about which the user can do nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def unavailable(rivals: Sequence[Rival], reason: str) -> dict[str, str]:
    """Return the same reason for several rivals, by label."""
    return {rival.label: reason for rival in rivals}
