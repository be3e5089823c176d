"""Choose the processes that hold the tables, from shardings given by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlrm_pl.distributed.plan.hosts import Hosts
from dlrm_pl.distributed.plan.sharding_plan import SHARDINGS, Sharding, TablePlan
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.errors import ConfigurationError

AUTO = "auto"


def shardings_of(given: str | Mapping[str, str], workload: Workload) -> list[str]:
    """Return the sharding of each table, which may be ``auto``.

    Args:
        given: one for all tables, or those for some tables by name or number; the others are ``auto``.
        workload: training run to plan for.

    Raises:
        ConfigurationError: a sharding or a table is unknown.
    """
    count = workload.architecture.num_tables
    if isinstance(given, str):
        return [_known(given, "sharding")] * count
    found = [AUTO] * count
    for key, value in given.items():
        if str(key) in workload.names:
            table = workload.names.index(str(key))
        elif str(key).isdecimal() and int(key) < count:
            table = int(key)
        else:
            raise ConfigurationError(
                f"sharding names the table {key!r}, but the model has no such table. Give a number from 0 to "
                f"{count - 1}, or the name of a column."
            )
        found[table] = _known(value, f"sharding of table {key}")
    return found


def _known(value: object, name: str) -> str:
    if value not in (AUTO, *SHARDINGS):
        raise ConfigurationError(f"{name}={value!r} must be {AUTO}, or one of {', '.join(SHARDINGS)}.")
    return str(value)


def place(workload: Workload, shardings: Sequence[Sharding], hosts: Hosts) -> list[TablePlan]:
    """Choose the processes of each table.

    Whole tables are placed one by one, the largest first, on the process (or host) that looks up the fewest rows so far
    and has enough memory left: every table takes about the same time, however many rows it has.

    Args:
        workload: training run to plan for.
        shardings: how each table is divided.
        hosts: hosts that the processes run on.

    Raises:
        ConfigurationError: the columns of a table cannot be divided between this many processes.
    """
    architecture, dim = workload.architecture, workload.dim
    everybody = tuple(range(hosts.ranks))
    sizes = [workload.table_bytes(rows, dim) for rows in architecture.table_sizes]
    free = [hosts.memory_of_process] * hosts.ranks
    for size, sharding in zip(sizes, shardings, strict=True):
        if sharding in ("row_wise", "column_wise", "data_parallel"):
            each = size if sharding == "data_parallel" else -(-size // hosts.ranks)
            free = [left - each for left in free]
    looked_up = [0.0] * hosts.ranks
    chosen: dict[int, tuple[int, ...]] = {}
    for table in sorted(range(architecture.num_tables), key=lambda table: -sizes[table]):
        sharding = shardings[table]
        if sharding == "table_wise":
            groups: list[tuple[int, ...]] = [(rank,) for rank in everybody]
        elif sharding == "table_row_wise":
            groups = [everybody[first : first + hosts.processes] for first in range(0, hosts.ranks, hosts.processes)]
        else:
            if sharding == "column_wise" and dim % (4 * hosts.ranks):
                raise ConfigurationError(
                    f"{workload.name_of(table)} has {dim} columns, which cannot be divided between {hosts.ranks} "
                    "processes: column_wise needs a multiple of 4 columns on each. Give another sharding."
                )
            chosen[table] = everybody
            continue
        each = -(-sizes[table] // len(groups[0]))
        cost = workload.lookups[table] + 1
        # A table that fits nowhere goes to the process with the most memory left; the check will say how much it lacks.
        best = min(groups, key=lambda group: (free[group[0]] < each, looked_up[group[0]], -free[group[0]]))
        if free[best[0]] < each:
            best = max(groups, key=lambda group: free[group[0]])
        for rank in best:
            free[rank] -= each
            looked_up[rank] += cost
        chosen[table] = best
    return [
        TablePlan(table, workload.names[table], rows, dim, sizes[table], shardings[table], chosen[table])
        for table, rows in enumerate(architecture.table_sizes)
    ]
