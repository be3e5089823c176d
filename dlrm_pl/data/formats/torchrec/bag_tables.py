"""Lookup tables that turn single ids into bags: MLPerf's synthetic multi-hot data without its 4 TB of files.

Row i of a table's lookup table holds the ids that follow id i in its bag. They are the ids that ``Multihot`` of
torchrec_dlrm draws with NumPy's legacy generator and seed 0, table by table and row by row. The generator gives the
same stream when it is called in parts, so a whole table never has to be in memory. Once drawn, the tables are
memory-mapped files.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlrm_pl.data.formats.torchrec.mapped_file import Array, MappedFile
from dlrm_pl.documents.arguments import check_fields
from dlrm_pl.documents.fields import Count, Positive, make
from dlrm_pl.documents.json_text import object_with, read_json
from dlrm_pl.errors import ConfigurationError, DataFormatError
from dlrm_pl.files.atomic import atomic_folder
from dlrm_pl.files.locks import InUseError
from dlrm_pl.files.replacement import FinishedOutput, PlannedOutput

log = logging.getLogger(__name__)

Distribution = Literal["uniform", "pareto"]

FOLDER_NAME = "multi_hot_tables"
"""Folder of the tables, in the folder of the days."""

_DESCRIPTION = "multi_hot_tables.json"
_FORMAT = 1
_SEED = 0
"""Fixed seed of TorchRec's ``Multihot``."""
_PARETO_SHAPE = 0.25
_DRAWN_TOGETHER = 4 << 20
_WAIT_S = 0.5
_MOST_IDS = 4096
_ADVICE = "Delete the folder to draw the tables again."


@dataclass(frozen=True)
class BagSettings:
    """Settings that determine the contents of the lookup tables.

    Attributes:
        table_sizes: number of rows of each embedding table.
        multi_hot_sizes: number of ids in a bag of each table; a table with 1 has no lookup table.
        distribution: distribution of the drawn ids: ``uniform`` over the table's rows, or ``pareto`` with shape 0.25,
            modulo the number of rows.

    Raises:
        ConfigurationError: a size is out of range, or the two lists of sizes differ in length.
    """

    table_sizes: tuple[int, ...]
    multi_hot_sizes: tuple[int, ...]
    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.table_sizes) != len(self.multi_hot_sizes):
            raise ConfigurationError(
                f"multi_hot_sizes has {len(self.multi_hot_sizes)} sizes, but there are {len(self.table_sizes)} tables."
            )
        for table, size in enumerate(self.multi_hot_sizes):
            if not 1 <= size <= _MOST_IDS:
                raise ConfigurationError(
                    f"multi_hot_sizes: {size} of table {table} must be between 1 and {_MOST_IDS:,}."
                )

    @property
    def num_ids(self) -> int:
        """Number of ids in all lookup tables."""
        return sum(rows * (bag - 1) for rows, bag in zip(self.table_sizes, self.multi_hot_sizes, strict=True))

    def statement(self) -> dict[str, Any]:
        """Return the settings as stated in the description of the tables."""
        return {
            "seed": _SEED,
            "distribution": self.distribution,
            "table_sizes": list(self.table_sizes),
            "multi_hot_sizes": list(self.multi_hot_sizes),
        }


@dataclass(frozen=True)
class _Stated:
    """The description of lookup tables."""

    format: Positive
    seed: Count
    distribution: str
    table_sizes: tuple[Positive, ...]
    multi_hot_sizes: tuple[Positive, ...]


@dataclass(frozen=True)
class BagTables:
    """Memory-mapped lookup tables.

    Attributes:
        folder: folder of their files.
        mapped: file of each table; None for a table whose bags have one id.
    """

    folder: Path
    mapped: tuple[MappedFile | None, ...]

    @classmethod
    def open(cls, folder: Path, settings: BagSettings) -> BagTables:
        """Map the tables of a folder.

        Raises:
            DataFormatError: the tables have another seed, size or distribution, or are damaged; the message names the
                difference.
        """
        stated = _stated(folder)
        for name, wanted in settings.statement().items():
            found = getattr(stated, name)
            if (list(found) if isinstance(found, tuple) else found) != wanted:
                raise DataFormatError(
                    f"{folder}: the lookup tables were drawn with {_difference(name, found, wanted)}. {_ADVICE}"
                )
        sizes = list(zip(settings.table_sizes, settings.multi_hot_sizes, strict=True))
        mapped = tuple(MappedFile(folder / _name(table)) if bag > 1 else None for table, (_, bag) in enumerate(sizes))
        tables = cls(folder, mapped)
        for (rows, bag), array in zip(sizes, tables.arrays, strict=True):
            if array is not None and (array.dtype != np.dtype("<i4") or array.shape != (rows, bag - 1)):
                raise DataFormatError(
                    f"{folder}: a table has shape {list(array.shape)} and dtype {array.dtype}, not [{rows}, "
                    f"{bag - 1}] and int32. {_ADVICE}"
                )
        first = next((place for place, (_, bag) in enumerate(sizes) if bag > 1), None)
        if first is not None:
            rows, bag = sizes[first]
            some = _draw(_generator(), min(rows, 64), rows, bag, settings.distribution)
            if not np.array_equal(tables.arrays[first][: len(some)], some):  # type: ignore[index]
                raise DataFormatError(
                    f"{folder / _name(first)}: its first rows differ from those that the seed gives. {_ADVICE}"
                )
        return tables

    @property
    def arrays(self) -> list[Array | None]:
        """Array of each table, int32 ``[rows, ids of a bag - 1]``; None if its bags have one id."""
        return [None if mapped is None else mapped.array() for mapped in self.mapped]


def stated_settings(folder: Path) -> BagSettings:
    """Return the settings that the tables in a folder were drawn with.

    Raises:
        DataFormatError: the tables have no description, or one that makes no sense.
    """
    stated = _stated(folder)
    distribution: Distribution = "pareto" if stated.distribution == "pareto" else "uniform"
    try:
        return BagSettings(tuple(stated.table_sizes), tuple(stated.multi_hot_sizes), distribution)
    except ConfigurationError as error:
        raise DataFormatError(f"{folder / _DESCRIPTION}: {error} {_ADVICE}") from None


def open_or_draw(folder: Path, settings: BagSettings, progress: Callable[[float], None] | None = None) -> BagTables:
    """Map the lookup tables of a folder, after drawing them if they are missing.

    If another process is drawing them, this function waits for it.

    Args:
        folder: folder of the tables.
        settings: settings that they are drawn with.
        progress: called with the share of the work that is done.

    Raises:
        DataFormatError: the folder has other tables; see ``BagTables.open``.
        OutputError: the folder cannot be written.
    """
    while not (folder / _DESCRIPTION).is_file():
        try:
            _write(folder, settings, progress or (lambda share: None))
        except InUseError:
            time.sleep(_WAIT_S)
    return BagTables.open(folder, settings)


def _write(folder: Path, settings: BagSettings, progress: Callable[[float], None]) -> None:
    planned = PlannedOutput("multi_hot", settings.statement(), _recognize)
    with atomic_folder(folder, planned) as temporary:
        log.info(
            "%s: drawing %s ids for bags, which are kept in %s GB of files",
            folder,
            f"{settings.num_ids:,}",
            _gigabytes(settings),
        )
        generator, done, total = _generator(), 0, max(1, settings.num_ids)
        for table, (rows, bag) in enumerate(zip(settings.table_sizes, settings.multi_hot_sizes, strict=True)):
            if bag == 1:
                continue
            with (temporary / _name(table)).open("wb") as handle:
                header = {"descr": "<i4", "fortran_order": False, "shape": (rows, bag - 1)}
                np.lib.format.write_array_header_1_0(handle, header)
                step = max(1, _DRAWN_TOGETHER // (bag - 1))
                for first in range(0, rows, step):
                    drawn = _draw(generator, min(step, rows - first), rows, bag, settings.distribution)
                    handle.write(np.ascontiguousarray(drawn, "<i4").data.cast("B"))
                    done += drawn.size
                    progress(done / total)
        text = json.dumps({"format": _FORMAT, **settings.statement()}, indent=2) + "\n"
        (temporary / _DESCRIPTION).write_text(text, encoding="ascii")


def _generator() -> np.random.RandomState:
    return np.random.RandomState(_SEED)


def _draw(generator: np.random.RandomState, count: int, rows: int, bag: int, distribution: Distribution) -> Array:
    """Draw the next rows of a lookup table, int32 ``[count, bag - 1]``."""
    size = (count, bag - 1)
    if distribution == "uniform":
        return generator.randint(0, rows, size=size).astype(np.int32)
    with np.errstate(invalid="ignore"):  # Numbers beyond int32 become its smallest value, as in the reference.
        return generator.pareto(a=_PARETO_SHAPE, size=size).astype(np.int32) % np.int32(rows)


def _stated(folder: Path) -> _Stated:
    path = folder / _DESCRIPTION
    stated = make(_Stated, read_json(path, DataFormatError, _ADVICE), str(path), DataFormatError, _ADVICE)
    if stated.format != _FORMAT:
        raise DataFormatError(f"{path}: has format {stated.format}, but this version reads {_FORMAT}. {_ADVICE}")
    return stated


def _difference(name: str, found: Any, wanted: Any) -> str:
    if isinstance(found, tuple):
        if len(found) != len(wanted):
            return f"{len(found)} {name}, not {len(wanted)}"
        table = next(place for place, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other)
        return f"{found[table]:,} in {name} for table {table}, not {wanted[table]:,}"
    return f"{name} {found}, not {wanted}"


def _recognize(folder: Path) -> FinishedOutput | None:
    contents = object_with(folder / _DESCRIPTION, "multi_hot_sizes")
    if contents is None:
        return None
    sizes = contents["multi_hot_sizes"]
    names = [_name(table) for table in range(len(sizes) if isinstance(sizes, list) else 0)]
    return FinishedOutput("lookup tables for bags", "multi_hot", contents, (*names, _DESCRIPTION))


def _name(table: int) -> str:
    return f"table_{table}.npy"


def _gigabytes(settings: BagSettings) -> str:
    return f"{4 * settings.num_ids / 1e9:.1f}"
