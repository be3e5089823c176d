"""Fixtures and hooks for tests of all folders."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.combinations import leave_combinations
from tests.support.examples import PROFILES
from tests.support.machine import spare
from tests.support.made_once import made_once
from tests.support.names import refuse_addresses

# A thread that waits for its team sleeps: spinning would take time from xdist's other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Container images often forbid bytecode. Without it, every process of a run, and every program that a test starts,
# compiles what it imports, and pytest rewrites the assertions of 400 files again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

spare()

for name, count in PROFILES.items():
    settings.register_profile(name, max_examples=count)
settings.load_profile("few")

# Test files import torch, Lightning and scipy: about a million objects that stay until the end. Searching them for
# garbage repeatedly took more than a third of the collection time; pytest_collection() turns it on again.
gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Turn the garbage collector on once the tests are collected; it then examines only later objects."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)  # Tests make many small objects, but hardly any in cycles.
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # Runs before pytest deselects slow tests.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files of long tests first, so that no process is left with one of them at the end."""
    refuse_addresses(item.nodeid for item in items)
    leave_combinations(items)
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[object]:
    """Restore the level of the program's log, which commands set, so that no test depends on earlier ones."""
    logger = logging.getLogger("dlrm_pl")
    level = logger.level
    try:
        return (yield)
    finally:
        logger.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Stop the tracing of ``make coverage`` in tests that are marked as untraced.

    The marker ``no_cover`` of pytest-cov would do this, but not in a process of xdist.
    """
    trace = sys.gettrace()
    if item.get_closest_marker("untraced"):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and on a busy machine waiting for them takes a hundred times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Let ctrl-C work in the tests and their programs, even if a shell started them in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of 12,000 rows; read it, or copy it before changing it."""
    from dlrm_pl.data.synthetic.synthesize import synthesize

    def make(path: Path) -> None:
        synthesize(path, rows=12_000, days=3, seed=1, label_rate=0.2, best_auroc=0.85, max_table_size=100)

    return made_once(tmp_path_factory, "dataset", make)


@pytest.fixture
def dataset_copy(synthetic_folder: Path, tmp_path: Path) -> Path:
    """A copy of the dataset that a test may damage."""
    return Path(shutil.copytree(synthetic_folder, tmp_path / "dataset"))
