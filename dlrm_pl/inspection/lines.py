"""Lines that the descriptions of several kinds of files share."""

from __future__ import annotations

from collections.abc import Sequence

from dlrm_pl.columns.columns import Columns
from dlrm_pl.columns.description import column_lines
from dlrm_pl.inspection.description import Line


def how_to_check_the_rest(full: bool) -> str:
    """Say how to have the rest checked, if it was not."""
    return "" if full else "; `--full` checks every byte"


def lines_of_columns(columns: Columns | None) -> list[Line]:
    """Name the columns of a checkpoint or an artifact."""
    return [("columns", "unknown")] if columns is None else [*column_lines(columns)]


def architecture_lines(architecture: dict[str, object]) -> list[Line]:
    """State the sizes of the MLPs and of the tables."""

    def widths(name: str) -> str:
        values = architecture[name]
        assert isinstance(values, Sequence)
        return "-".join(map(str, values))

    sizes = architecture["table_sizes"]
    assert isinstance(sizes, Sequence)
    crossed = ""
    if "cross_layers" in architecture:
        crossed = f" ({architecture['cross_layers']} layers of rank {architecture['cross_rank']})"
    return [
        ("bottom MLP", widths("bottom_mlp")),
        ("top MLP", f"{widths('top_mlp')}, interaction {architecture['interaction']}{crossed}"),
        ("tables", f"{len(sizes)}, {sum(sizes):,} rows x {architecture['embedding_dim']}"),
    ]
