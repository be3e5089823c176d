"""A sharding plan as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlrm_pl.distributed.plan.sharding_plan import RankPlan, ShardingPlan
from dlrm_pl.files.sizes import format_bytes

_MOST_RANKS = 16


def plan_text(plan: ShardingPlan) -> str:
    """Return a table of the tables, and one of the processes; if there are many processes, of a selection.

    Args:
        plan: the plan.
    """
    tables = [
        (table.name, f"{table.rows:,}", format_bytes(table.bytes), table.sharding, ranks_text(table.ranks))
        for table in plan.tables
    ]
    rows = [("table", "rows", "size", "sharding", "processes"), *tables]
    shown = plan.ranks
    note = ""
    if len(shown) > _MOST_RANKS:
        by_memory = sorted(plan.ranks, key=lambda rank: (-rank.memory.total, rank.rank))
        shown = (by_memory[0], by_memory[len(by_memory) // 2], by_memory[-1])
        note = f"of {len(plan.ranks)} processes, those with the most, the median and the least memory\n"
    ranks = [("process", "peak memory", "tables", "buffers", "rest", "sent per step"), *map(_rank, shown)]
    return (
        f"plan for {plan.hosts}\n\n{_columns(rows, 'lrrll')}\n\n{note}{_columns(ranks, 'lrrrrr')}\n\n"
        f"peak memory of a process: {format_bytes(plan.peak_memory)} of "
        f"{format_bytes(plan.hosts.memory_of_process)}; sent by a process in a step: at most "
        f"{format_bytes(plan.sent_bytes)}"
    )


def plan_summary(plan: ShardingPlan) -> str:
    """Return a plan in one line.

    Args:
        plan: the plan.
    """
    counts = Counter(table.sharding for table in plan.tables)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    peak, there = format_bytes(plan.peak_memory), format_bytes(plan.hosts.memory_of_process)
    return (
        f"tables on {plan.hosts.ranks} processes: {kinds}; "
        f"a process takes at most {peak} of {there}, and "
        f"sends at most {format_bytes(plan.sent_bytes)} in a training step"
    )


def ranks_text(ranks: Sequence[int]) -> str:
    """Return process numbers in short form, such as ``0-3`` or ``5``.

    Example:
        >>> ranks_text([0, 1, 2, 3]), ranks_text([4]), ranks_text([1, 0])
        ('0-3', '4', '1, 0')
    """
    if len(ranks) > 1 and list(ranks) == list(range(ranks[0], ranks[0] + len(ranks))):
        return f"{ranks[0]}-{ranks[-1]}"
    return ", ".join(map(str, ranks))


def _rank(plan: RankPlan) -> tuple[str, ...]:
    memory = plan.memory
    sizes = (memory.total, memory.tables + memory.state, memory.buffers, memory.process + memory.mlps + memory.batch)
    return (str(plan.rank), *map(format_bytes, sizes), format_bytes(plan.sent_bytes))


def _columns(rows: Sequence[Sequence[str]], sides: str) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(sides))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
