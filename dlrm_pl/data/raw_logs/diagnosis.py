"""Diagnose a file with an invalid line: the format that it seems to have, and how to convert it."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.raw_logs.line import BadLineError, Label, parse_line, without_newline

_SAMPLE_BYTES = 1 << 16
_LINES = 100
_MOST = 0.9  # From this share of the lines on, the format is at fault, not a few bad lines.
_GZIP = b"\x1f\x8b"
# First bytes of a file, its format, and advice.
_MAGIC: Sequence[tuple[bytes, str, str]] = (
    (_GZIP, "a gzip file", "name it .gz, or unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it (zstd -d)"),
    (b"PK\x03\x04", "a zip archive", "unpack it (unzip)"),
    (b"BZh", "a bzip2 file", "unpack it (bunzip2)"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it (unxz)"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "unpack it (lz4 -d)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it (7z x)"),
    (b"PAR1", "a Parquet file", "let its name end in .parquet"),
    (b"ARROW1", "an Arrow file", "let its name end in .arrow"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write it as tab-separated text"),
    (b"\xff\xfe", "UTF-16 text", "convert it (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "UTF-16 text", "convert it (iconv -f UTF-16 -t UTF-8)"),
    (b"\xef\xbb\xbf", "text with a byte order mark", "remove its first three bytes (tail -c +4)"),
    (b"<", "a web page or XML", "download the log again; this may be the server's error page"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself (git lfs pull)"),
    (b"{", "JSON", "write it as tab-separated text"),
    (b"[", "JSON", "write it as tab-separated text"),
)
_TAR_MAGIC, _TAR_PLACE = b"ustar", 257
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars", " ": "spaces"}


def open_log(path: Path) -> BufferedIOBase:
    """Open a plain or gzipped log for reading bytes."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def likely_format(
    path: Path, *, labelled: bool = True, columns: Columns | None = None, head: bytes | None = None
) -> str:
    """Describe the format that a file seems to have, from its beginning, and what to do.

    Args:
        path: raw log with an invalid line.
        labelled: as in ``iter_raw_records``.
        columns: columns of the log; None for Criteo's.
        head: first bytes of the file, unpacked, which cannot be read again from a pipe; None: read them.

    Returns:
        Whole sentences; empty if most lines are valid or the file cannot be read.
    """
    columns = columns or Columns.criteo()
    if head is None:
        head = b""
        with suppress(OSError, EOFError, zlib.error), open_log(path) as handle:
            head = handle.read(_SAMPLE_BYTES)
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return f"The file looks like {what}: {advice}."
    if head[_TAR_PLACE:].startswith(_TAR_MAGIC):
        return "The file looks like a tar archive: unpack it (tar -x)."
    if b"\0" in head:
        return f"The file looks like binary data; expected tab-separated text ({_order(columns)})."
    whole = head if len(head) < _SAMPLE_BYTES else head[: head.rfind(b"\n") + 1]
    if b"\r" in head and b"\n" not in head:
        return "Its lines end with CR only: convert them (tr '\\r' '\\n')."
    lines = [without_newline(line) for line in whole.split(b"\n")[:_LINES]]
    return _of_lines([line for line in lines if line], labelled, columns)


def repair_gz(path: Path) -> str:
    """Return advice for a ``.gz`` file that cannot be unpacked."""
    with path.open("rb") as handle:
        if not (head := handle.read(len(_GZIP))) or head == _GZIP:
            return "Download it again."
    return "It is not a gzip file: rename it without .gz if it is plain text, or else download it again."


def _order(columns: Columns) -> str:
    integers = f"{columns.num_dense} integer{'s' if columns.num_dense > 1 else ''}"
    categories = f"{columns.num_sparse} categor{'ies' if columns.num_sparse > 1 else 'y'}"
    return f"label, {integers}, {categories}"


def _of_lines(lines: Sequence[bytes], labelled: bool, columns: Columns) -> str:
    """Describe the fault that most of the given lines share; empty if there is no such fault."""
    if not lines:
        return ""
    label: Label = "needed" if labelled else "optional"
    if not labelled and lines[0].count(b"\t") == columns.record_ints - 2:
        label = "absent"
    faults = Counter(_fault(line, label, columns) for line in lines)
    kind, count = faults.most_common(1)[0]
    if kind is None:
        header = _is_header(lines[0], label, columns)
        return "Line 1 looks like a header: delete it (tail -n +2)." if header else ""
    if count < _MOST * len(lines):
        return ""
    width, separator = _separator(lines, columns.record_ints)
    if separator != "\t":
        return (
            f"The file seems to have {width} fields separated by {_SEPARATORS[separator]}; expected tabs (tr "
            f"'{separator}' '\\t')."
        )
    for changed, what in _changes(columns.record_ints):
        if all(_fault(changed(line), "needed", columns) is None for line in lines[1:] or lines):
            return what
    lines_alike = f"All of its first {len(lines)}" if count == len(lines) else f"{count} of its first {len(lines)}"
    alike = f"{lines_alike} lines have the same error. " if len(lines) > 1 else ""
    return f"{alike}Is it a click log ({_order(columns)}, separated by tabs)?"


def _fault(line: bytes, label: Label, columns: Columns) -> str | None:
    """Return the kind of a line's fault; None if the line is valid."""
    try:
        parse_line(line, 0, label, columns=columns)
    except BadLineError as error:
        return error.kind
    return None


def _is_header(line: bytes, label: Label, columns: Columns) -> bool:
    """Return whether a line has names in place of numbers."""
    fields = line.split(b"\t")
    numbers = fields[: columns.num_dense + (label != "absent")]
    named = sum(any(chr(byte).isalpha() for byte in field) for field in numbers)
    return len(fields) > 2 and named > len(numbers) // 2


def _separator(lines: Sequence[bytes], num_fields: int) -> tuple[int, str]:
    """Return the number of fields and their separator: a tab, unless another one gives about the expected number."""
    for separator in _SEPARATORS:
        width, count = Counter(line.count(separator.encode()) + 1 for line in lines).most_common(1)[0]
        if abs(width - num_fields) <= 1 and width > 1 and count >= _MOST * len(lines) and b"\t" not in lines[-1]:
            return width, separator
    return num_fields, "\t"


def _fields(line: bytes) -> list[bytes]:
    return line.split(b"\t")


def _changes(num_fields: int) -> Sequence[tuple[Callable[[bytes], bytes], str]]:
    """Return changes that may make lines valid, each with the message if it does so for all of them."""
    return (
        (
            lambda line: b"0\t" + line,
            "Its lines have no label, like those of Kaggle's test file. Score them with `predict --raw`; training and "
            "testing need labels.",
        ),
        (
            lambda line: b"0" + line,
            "Its labels are empty. Score the rows with `predict --raw`; training and testing need labels.",
        ),
        (
            lambda line: b"\t".join(_fields(line)[1:]),
            "Its lines begin with an extra column, perhaps an id: remove it (cut -f2-).",
        ),
        (
            lambda line: b"\t".join(_fields(line)[:-1]),
            f"Its lines end with an extra column: remove it (cut -f1-{num_fields}).",
        ),
        (
            lambda line: b"\t".join(_fields(line)[-1:] + _fields(line)[:-1]),
            "Its label is the last column: move it to the front (awk -F'\\t' -v OFS='\\t' '{l = $NF; NF--; print l, "
            "$0}').",
        ),
        (lambda line: line.strip(), "Its lines begin or end with spaces: remove them."),
        (lambda line: line.replace(b'"', b""), "Its fields are quoted: remove the quotes (tr -d '\"')."),
    )
