"""Run a script as several gloo ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_ranks(script: str, folder: Path, count: int = 2) -> None:
    """Run ``script`` in ``count`` processes that have joined one group; ``rank`` is defined in it.

    Raises:
        AssertionError: a rank failed, with what it printed.
    """
    source = (
        "import sys, torch, torch.distributed as dist\nrank = int(sys.argv[1])\n"
        f"dist.init_process_group('gloo', init_method='file://' + sys.argv[2], rank=rank, world_size={count})\n"
        f"{script}\ndist.destroy_process_group()\n"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", source, str(rank), str(folder / "meet")],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    for process in ranks:
        _, error = process.communicate(timeout=250)
        assert process.returncode == 0, error
