"""Run a script as several gloo ranks."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes.forked import Forked


def run_ranks(script: str, folder: Path, count: int = 2) -> None:
    """Run ``script`` in ``count`` processes that have joined one group; ``rank`` is defined in it.

    Raises:
        AssertionError: a rank failed; contains what it printed.
    """
    source = (
        "import sys, warnings, torch, torch.distributed as dist\n"
        "warnings.simplefilter('ignore')\nrank = int(sys.argv[1])\n"
        f"dist.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=rank, world_size={count})\n"
        f"{script}\ndist.destroy_process_group()\n"
    )
    ranks = [Forked(source, [rank, folder / "meet"]) for rank in range(count)]
    for process in ranks:
        assert process.wait(timeout=250) == 0, process.errors()
