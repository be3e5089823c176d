"""Files of synthetic logs: their contents, and how they are written block by block."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from dlrm_pl.data.formats.binary_format import Records
from dlrm_pl.data.sources.writer import TableFormat, TableWriter, table_of
from dlrm_pl.data.synthetic.encoding import raw_rows
from dlrm_pl.data.synthetic.world import Block, ClickWorld
from dlrm_pl.documents.json_text import object_in, object_with
from dlrm_pl.files.replacement import FinishedOutput

RAW_DESCRIPTION_NAME = "synthetic.json"
"""Description of raw logs."""

TABLE_DESCRIPTION_NAME = "_synthetic.json"
"""Description of CSV and Parquet files; programs that read whole folders skip names that begin with ``_``."""

_DAY = re.compile(r"day_(0|[1-9][0-9]{0,8})(\.csv|\.parquet)?")


class Files(Protocol):
    """Files that rows are written to."""

    def encode(self, block: Block) -> Any:
        """Return rows in the files' form."""

    def write(self, file: int, encoded: Any, rows: slice) -> None:
        """Append some of the rows that ``encode`` returned to a file."""


class ByteFiles:
    """Files of records, or of lines.

    Args:
        paths: the files.
        encode: converts rows to records or lines.
        stack: exit stack that closes the files.
    """

    def __init__(
        self, paths: Sequence[Path], encode: Callable[[Block], Records | list[bytes]], stack: ExitStack
    ) -> None:
        self.encode = encode
        self._handles: list[BinaryIO] = [stack.enter_context(path.open("wb")) for path in paths]

    def write(self, file: int, encoded: Records | list[bytes], rows: slice) -> None:
        """Append some of the rows that ``encode`` returned to a file."""
        self._handles[file].write(b"".join(encoded[rows]))


class TableFiles:
    """CSV or Parquet files.

    Args:
        paths: the files.
        format: format of the files.
        world: world that the rows belong to.
        stack: exit stack that closes the files.
    """

    def __init__(self, paths: Sequence[Path], format: TableFormat, world: ClickWorld, stack: ExitStack) -> None:
        self._world = world
        self._writers = [TableWriter(path, format) for path in paths]
        for writer in self._writers:
            stack.callback(writer.close)

    def encode(self, block: Block) -> Any:
        """Return rows as a table."""
        return table_of(raw_rows(self._world, block), self._world.columns)

    def write(self, file: int, encoded: Any, rows: slice) -> None:
        """Append some of the rows that ``encode`` returned to a file."""
        self._writers[file].write(encoded.slice(rows.start, rows.stop - rows.start))


def describe_logs(path: Path, options: dict[str, Any], aurocs: dict[str, float]) -> None:
    """Write the description of logs that are not a dataset."""
    contents = {"synthetic": options, "best_possible_auroc": aurocs}
    path.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def recognize_raw_logs(folder: Path) -> FinishedOutput | None:
    """Recognize a folder of raw logs that ``synthesize`` wrote; None for other folders."""
    return _recognize(folder, RAW_DESCRIPTION_NAME)


def recognize_tables(folder: Path) -> FinishedOutput | None:
    """Recognize a folder of CSV or Parquet files that ``synthesize`` wrote; None for other folders."""
    return _recognize(folder, TABLE_DESCRIPTION_NAME)


def _recognize(folder: Path, description: str) -> FinishedOutput | None:
    contents = object_with(folder / description, "synthetic")
    options = object_in(contents, "synthetic") if contents else None
    days = options.get("days") if options else None
    if not isinstance(days, int):
        return None
    matches = (_DAY.fullmatch(path.name) for path in folder.iterdir())
    ours = sorted(match[0] for match in matches if match and int(match[1]) < days)
    return FinishedOutput("raw logs", "synthesize", options, (*ours, description))
