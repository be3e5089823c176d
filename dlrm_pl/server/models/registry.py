"""All served models, by name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from dlrm_pl.columns.columns import nearest_name
from dlrm_pl.documents.fields import shown
from dlrm_pl.server.models.served import ServedModel, ServedVersion, SwapOutcome
from dlrm_pl.server.protocol.errors import RequestError

log = logging.getLogger(__name__)


_NICENESS = 10
_RELEASE_LOOK_S = 0.05


def _yield_to_others() -> None:
    """Lower this thread's priority below those that answer requests; on Linux, each thread has its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _release(versions: list[ServedVersion]) -> None:
    """Release versions once no request uses them.

    Runs in a separate thread, because unmapping tables and closing a file watch take milliseconds, or tenths of a
    second for large models, and would block the event loop.
    """
    _yield_to_others()
    while versions:
        time.sleep(_RELEASE_LOOK_S)
        versions[:] = [version for version in versions if version.batcher.requests]


class Registry:
    """Served models, and the thread that loads newer versions of them.

    Args:
        models: the models.
    """

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.models = {model.name: model for model in models}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load", initializer=_yield_to_others)
        self._lock = asyncio.Lock()

    def find(self, name: str, version: str | None = None) -> tuple[ServedModel, ServedVersion]:
        """Return a model and one of its versions, by default the newest.

        Raises:
            RequestError: there is no model of that name, or no such version.
        """
        model = self.models.get(name)
        if model is None:
            raise RequestError(404, f"There is no model {shown(name)}. {nearest_name(name, tuple(self.models))}")
        if version is None:
            return model, model.newest
        served = model.versions.get(version)
        if served is None:
            there = ", ".join(model.versions)
            raise RequestError(404, f"Model {name} has no version {shown(version)}. The served version is {there}.")
        return model, served

    async def refresh(self, model: ServedModel, *, again: bool = False) -> SwapOutcome:
        """Check for newer versions of a model, and swap them in.

        Args:
            model: the model.
            again: also try versions that were refused before.
        """
        async with self._lock:
            loop = asyncio.get_running_loop()
            versions, outcome = await loop.run_in_executor(self._loader, lambda: model.look(again=again))
            removed = model.swap(versions)
        if removed:
            threading.Thread(target=_release, args=(removed,), name="release", daemon=True).start()
        for message in outcome.refused:
            log.error("refused: %s", message, extra={"model": model.name})
        if outcome.loaded:
            log.info(
                "%s: version %s is now served in place of %s",
                model.name,
                ", ".join(outcome.loaded),
                ", ".join(outcome.removed) or "none",
                extra={"model": model.name},
            )
        return outcome

    def close(self) -> None:
        """End the threads."""
        self._loader.shutdown(wait=False)
        for model in self.models.values():
            model.close()
