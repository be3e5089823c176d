"""Lookup tables from which the bags of a folder with single ids are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlrm_pl.data.formats.torchrec.bag_tables import (
    FOLDER_NAME,
    BagSettings,
    BagTables,
    open_or_draw,
    stated_settings,
)
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.errors import DatasetError


def drawn_bags(
    folder: Path, table_sizes: Sequence[int], stated: StatedTables, what: str
) -> tuple[BagSettings, Path] | None:
    """Return the settings and the folder of a folder's lookup tables, which are drawn if that is allowed.

    Args:
        folder: folder with single ids.
        table_sizes: number of rows of each table.
        stated: stated facts about the bags.
        what: words that say that the ids are single, for a message.

    Returns:
        None if bags have one id each.

    Raises:
        DataFormatError: the tables in the folder have another seed, size or distribution, or are damaged.
        DatasetError: there are no lookup tables, and they may not be drawn.
        ConfigurationError: the number of bag sizes differs from the number of tables.
    """
    sizes, tables = stated.multi_hot_sizes, folder / FOLDER_NAME
    if sizes is None or max(sizes, default=1) == 1:
        return None
    if not stated.draws and not tables.is_dir():
        raise DatasetError(
            f"{what}, but bags of {', '.join(map(str, sizes))} are expected, and there are no lookup tables in "
            f"{tables}. Give the folder with the bags, or let them be drawn: see data.multi_hot_sizes."
        )
    distribution = stated.multi_hot_distribution
    if distribution is None:
        distribution = stated_settings(tables).distribution if tables.is_dir() else "uniform"
    settings = BagSettings(tuple(table_sizes), sizes, distribution)
    open_or_draw(tables, settings) if stated.draws else BagTables.open(tables, settings)
    return settings, tables
