"""Files of click probabilities in CSV, NumPy and Parquet, written as the rows are scored, in constant memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from dlrm_pl.data.sources.kept import KeptColumns, text_columns
from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.writer import TableFormat, TableWriter
from dlrm_pl.errors import ConfigurationError, OutputError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.files.destinations import STDOUT, check_file, kind_of, resolved
from dlrm_pl.scoring import Probabilities

log = logging.getLogger(__name__)

NAME = "probability"
"""Name of the column of probabilities."""

_GROUP_ROWS = 1 << 17
"""Number of rows in a Parquet row group."""

_NPY_HEADER_BYTES = 128

_SMALLEST_EXPONENT = -6
"""Power of ten below which Arrow writes numbers with an exponent."""

_Format = Literal["csv", "npy", "parquet"]


def output_path(output: str | os.PathLike[str]) -> Path:
    """Return the path for a user's output argument, where ``-`` is standard output."""
    return STDOUT if str(output) == "-" else Path(output)


def check_predictions_path(
    path: Path, overwrite: bool = True, *, keeps: bool = False, rows: str | os.PathLike[str] | None = None
) -> None:
    """Check, before rows are scored, that predictions can be written.

    Args:
        path: file to write.
        overwrite: whether an earlier file there may be replaced.
        keeps: whether columns of the rows will be written as well.
        rows: file or folder of the rows; None: they are read from a dataset.

    Raises:
        ConfigurationError: the file extension is not .csv, .npy or .parquet (a pipe may have any, and gets CSV); the
            format holds no columns but probabilities; or it needs pyarrow, which is not installed.
        OutputError: the path is a folder or a device, a file that may not be replaced, or one of the files of the rows.
    """
    if path.suffix not in (".csv", ".npy", ".parquet") and kind_of(path) != "sink":
        raise ConfigurationError(f"{path}: predictions are written as .csv, .npy or .parquet, not as {path.suffix!r}.")
    form = _format_of(path)
    if keeps and form == "npy":
        raise ConfigurationError(f"{path}: .npy holds only probabilities. With --keep, write .csv or .parquet.")
    if keeps or form == "parquet":
        arrow()
    check_file(path, overwrite, sinks=True)
    source = None if rows is None or kind_of(path) == "sink" else resolved(os.fspath(rows))
    if source in (resolved(path), resolved(path).parent):
        place = "is the file" if source == resolved(path) else f"is in {rows}, the folder"
        raise OutputError(f"{path}: {place} of the rows to score. Write the predictions to another place.")


class PredictionsFile:
    """An open file of predictions; made by ``predictions_file``.

    Attributes:
        rows: number of rows so far.
    """

    def __init__(self, handle: IO[Any], format: _Format, take: Callable[[int], Any] | None) -> None:
        self.rows = 0
        self.certain = 0
        self._handle = handle
        self._format = format
        self._take = take
        self._tables = take is not None or format == "parquet"
        self._writer = TableWriter(handle, cast(TableFormat, format), group_rows=_GROUP_ROWS) if self._tables else None
        # A pipe gets a header only with the first rows, so that nothing is written if the rows are refused.
        self._header = f"{NAME}\n"
        if format == "npy":
            handle.write(bytes(_NPY_HEADER_BYTES))

    def write(self, probabilities: Probabilities) -> None:
        """Append the probabilities of the next rows, and their kept columns."""
        values = np.ascontiguousarray(probabilities, np.float32)
        self.rows += len(values)
        self.certain += int(np.count_nonzero((values == 0) | (values == 1)))
        if self._writer is not None:
            self._write_table(self._writer, values)
        elif self._format == "npy":
            self._handle.write(values.data)
        else:
            self._handle.write(self._header + _csv_text(values))
            self._header = ""

    def _write_table(self, writer: TableWriter, values: Probabilities) -> None:
        if self._take is None:
            writer.write(arrow().table({NAME: values}))
        elif len(values):
            # In 64 bits, Arrow writes the digits that identify 32-bit floats, and no others.
            exact = np.array(_digits(values).split(), np.float64) if self._format == "csv" else values
            writer.write(text_columns(self._take(len(values))).append_column(NAME, arrow().array(exact)))

    def finish(self) -> None:
        """Write what is known only at the end."""
        if self._writer is not None:
            if not self.rows and self._take is None:
                self._writer.write(arrow().table({NAME: np.empty(0, np.float32)}))
            self._writer.close()
        elif self._format == "csv":
            self._handle.write(self._header)
        elif self._format == "npy":
            # np.save is not used: it needs all values at once, and its error on a full disk does not say that the disk
            # is full.
            shape = {"descr": "<f4", "fortran_order": False, "shape": (self.rows,)}
            text = f"{shape}".encode()
            self._handle.seek(0)
            self._handle.write(np.lib.format.magic(1, 0))
            room = _NPY_HEADER_BYTES - self._handle.tell() - 2
            self._handle.write(room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n")


def _csv_text(values: Probabilities) -> str:
    """Return a line for each probability, which reads back exactly.

    Numbers have the form in which Arrow writes them, so that a CSV file with kept columns has the same texts:
    9.1e-5 is 0.000091, and exponents, which begin below 1e-6, have no leading zeros.
    """
    text = _digits(values)
    if "e" in text:
        text = "".join(_without_padding(line) if "e" in line else f"{line}\n" for line in text.split())
    return text


def _digits(values: Probabilities) -> str:
    # Nine digits identify every float32 exactly.
    return ("%.9g\n" * len(values)) % tuple(values.tolist())


def _without_padding(number: str) -> str:
    digits, _, exponent = number.partition("e")
    return f"{Decimal(number):f}\n" if int(exponent) >= _SMALLEST_EXPONENT else f"{digits}e{int(exponent)}\n"


@contextmanager
def predictions_file(path: Path, take: Callable[[int], Any] | None = None) -> Iterator[PredictionsFile]:
    """Open a file for one click probability per row; ``.csv`` and ``.parquet`` can also hold columns of the rows.

    CSV has a header. ``.npy`` is float32 ``[rows]``. An earlier file is replaced at the end. Pipes and character
    devices are written to directly, as CSV. A warning counts the probabilities that float32 rounds to 0 or 1, since
    these rows cannot be ranked.

    Args:
        path: file to write.
        take: function that takes a number of rows, and returns the columns of that many next rows as an Arrow table;
            None: there are none.

    Raises:
        ConfigurationError, OutputError: see ``check_predictions_path``; or the file cannot be written.
    """
    check_predictions_path(path, keeps=take is not None)
    form = _format_of(path)
    binary = take is not None or form != "csv"
    with atomic_file(path, "wb" if binary else "w", sinks=True) as handle:
        file = PredictionsFile(handle, form, take)
        yield file
        file.finish()
    if file.certain:
        log.warning(
            "%s: %s of %s probabilities are exactly 0 or 1, because float32 rounds those of logits below -88 or "
            "above 17: these rows cannot be ranked. Check the calibration of the model with `validate`.",
            path,
            f"{file.certain:,}",
            f"{file.rows:,}",
        )


def write_predictions(path: Path, batches: Iterable[Probabilities], kept: KeptColumns | None = None) -> int:
    """Write the probabilities of all batches, see ``predictions_file``; return the number of rows."""
    with predictions_file(path, kept.take if kept else None) as file:
        for batch in batches:
            file.write(batch)
    return file.rows


def _format_of(path: Path) -> _Format:
    """Return the format of a path's ending; CSV for pipes and devices."""
    return "csv" if kind_of(path) == "sink" else cast(_Format, path.suffix[1:])
