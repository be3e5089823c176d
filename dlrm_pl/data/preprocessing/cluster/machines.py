"""Check, before the work, that all machines have this program, the files, and enough space."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.data.preprocessing.cluster.ray_cluster import Machine, RayCluster
from dlrm_pl.data.preprocessing.logs.log import Log
from dlrm_pl.data.preprocessing.plan import Plan
from dlrm_pl.errors import ClusterError
from dlrm_pl.files.remote import RemoteFolder
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.version import __version__

_ANSWER_S = 60.0


@dataclass(frozen=True)
class Seen:
    """What a machine reports about itself.

    Attributes:
        version: version of this program.
        token: text of the file that was written for this check; None if the file is not there.
        missing: paths of the log's files that are missing or have another size.
        memory_bytes: memory of the machine.
        scratch_bytes: free space in its folder for temporary files.
    """

    version: str
    token: str | None
    missing: list[str]
    memory_bytes: int
    scratch_bytes: int


def look(token: Path, files: Sequence[tuple[str, int]]) -> Seen:
    """Return what this machine sees; runs as a task on each machine.

    Args:
        token: file written by the machine that started the run.
        files: path and size of each file of the log.
    """
    found = [path for path, size in files if not os.path.isfile(path) or os.path.getsize(path) != size]
    text = token.read_text(encoding="ascii") if token.is_file() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Seen(__version__, text, found, memory, shutil.disk_usage(tempfile.gettempdir()).free)


def check_machines(cluster: RayCluster, output: Path, files: Sequence[Path]) -> dict[Machine, Seen]:
    """Check that all machines have this version and see the files.

    Args:
        cluster: the cluster.
        output: folder to make.
        files: files of the log.

    Returns:
        What each machine sees.

    Raises:
        ClusterError: there is no machine, or one does not answer, has another version, or lacks a path.
    """
    machines = cluster.machines()
    if not machines:
        raise ClusterError(
            "The cluster has no machine that offers a processor. Start one: ray start --address=HOST:PORT."
        )
    token, text = output.with_name(f".{output.name}.token"), uuid.uuid4().hex
    token.write_text(text, encoding="ascii")
    sizes = [(str(path), path.stat().st_size) for path in files]
    tasks = {machine: cluster.start(look, token, sizes, cpus=0, name="check", machine=machine) for machine in machines}
    seen: dict[Machine, Seen] = {}
    try:
        for machine, task in tasks.items():
            if not cluster.wait([task], _ANSWER_S):
                raise ClusterError(f"{machine.name}: did not answer within {_ANSWER_S:.0f} s. Stop it, or repair it.")
            seen[machine] = cluster.outcome(task, f"the check of {machine.name}").result()
            _check(machine, seen[machine], token.parent, text)
    finally:
        token.unlink(missing_ok=True)
    return seen


def _check(machine: Machine, seen: Seen, folder: Path, token: str) -> None:
    if seen.version != __version__:
        raise ClusterError(
            f"{machine.name}: has version {seen.version} of dlrm-pl, but this machine has {__version__}. Install the "
            "same version on both."
        )
    if seen.token != token:
        raise ClusterError(
            f"{machine.name}: does not see {folder}, the output folder. Choose a folder on a file system that all "
            "machines share, under the same path."
        )
    if seen.missing:
        raise ClusterError(
            f"{machine.name}: does not see {seen.missing[0]}, or sees a different file. Put the logs on a file "
            "system that all machines share, under the same path."
        )


def check_memory(log: Log, plan: Plan, seen: dict[Machine, Seen]) -> None:
    """Check that each machine has enough memory for a day.

    Args:
        log: the log.
        plan: estimate of the run.
        seen: what each machine sees.

    Raises:
        ClusterError: days are too large for a machine; the message names them.
    """
    machine, least = min(((machine, its.memory_bytes) for machine, its in seen.items()), key=lambda each: each[1])
    share = [plan.memory_of_day(day) for day in range(plan.days)]
    large = [log.name(day) for day in range(plan.days) if share[day] > least]
    if large:
        more = f" and {len(large) - 3} more" if len(large) > 3 else ""
        raise ClusterError(
            f"{', '.join(large[:3])}{more}: a day takes up to {format_bytes(max(share))} of memory, but "
            f"{machine.name} has {format_bytes(least)}. Lower --memory, cap the tables with --max_ind_range, or "
            "leave this machine out."
        )


def check_scratch(files: Sequence[Path], remote: RemoteFolder, seen: dict[Machine, Seen], cpus: int) -> None:
    """Check that each machine has disk space for the files that are copied to it.

    Args:
        files: files of the log.
        remote: folder that they are copied from.
        seen: what each machine sees.
        cpus: number of processors that a task uses.

    Raises:
        ClusterError: files are too large for a machine; the message names them.
    """
    for machine, its in seen.items():
        tasks = min(machine.cpus // cpus, len(files))
        large = [path for path in files if path.stat().st_size * tasks > its.scratch_bytes]
        if large:
            more = f" and {len(large) - 3} more" if len(large) > 3 else ""
            size = max(path.stat().st_size for path in large)
            raise ClusterError(
                f"{', '.join(f'{remote.url}/{path.name}' for path in large[:3])}{more}: {machine.name} copies up to "
                f"{format_bytes(size)} for each of {tasks} task{'s'[: tasks != 1]}, but has "
                f"{format_bytes(its.scratch_bytes)} free for temporary files. Set TMPDIR to a larger disk, raise "
                "--threads, or leave this machine out."
            )
