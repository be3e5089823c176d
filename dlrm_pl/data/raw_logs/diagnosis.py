"""Diagnosis of a file with an invalid line: the format that it seems to have, and how to convert it."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path

from dlrm_pl.data.formats.binary_format import RECORD_INTS
from dlrm_pl.data.raw_logs.line import BadLineError, Label, parse_line, without_newline

_SAMPLE_BYTES = 1 << 16
_LINES = 100
_MOST = 0.9  # Share of the lines from which on the format is at fault, not a few bad lines.
_GZIP = b"\x1f\x8b"
# First bytes of a file, its format, and what to do.
_MAGIC: Sequence[tuple[bytes, str, str]] = (
    (_GZIP, "a gzip file", "name it .gz, or unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it (zstd -d)"),
    (b"PK\x03\x04", "a zip archive", "unpack it (unzip)"),
    (b"BZh", "a bzip2 file", "unpack it (bunzip2)"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it (unxz)"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "unpack it (lz4 -d)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it (7z x)"),
    (b"PAR1", "a Parquet file", "write it as tab-separated text"),
    (b"ORC", "an ORC file", "write it as tab-separated text"),
    (b"Obj\x01", "an Avro file", "write it as tab-separated text"),
    (b"\x89HDF", "an HDF5 file", "write it as tab-separated text"),
    (b"\x93NUMPY", "a NumPy array", "write it as tab-separated text"),
    (b"\xff\xfe", "UTF-16 text", "convert it (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "UTF-16 text", "convert it (iconv -f UTF-16 -t UTF-8)"),
    (b"\xef\xbb\xbf", "text with a byte order mark", "remove its first three bytes (tail -c +4)"),
    (b"<", "a web page or XML", "download the log again; this may be an error page of the server"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself (git lfs pull)"),
    (b"{", "JSON", "write it as tab-separated text"),
    (b"[", "JSON", "write it as tab-separated text"),
)
_TAR_MAGIC, _TAR_PLACE = b"ustar", 257
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars", " ": "spaces"}
_ORDER = "label, 13 integers, 26 categories"


def open_log(path: Path) -> BufferedIOBase:
    """Open a plain or gzipped log for reading bytes."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def likely_format(path: Path, *, labelled: bool = True) -> str:
    """Describe the format that a file seems to have, from its beginning, and what to do.

    Args:
        path: raw log with an invalid line.
        labelled: as for ``iter_raw_records``.

    Returns:
        Whole sentences; empty if most lines are valid or the file cannot be read.
    """
    head = b""
    with suppress(OSError, EOFError, zlib.error), open_log(path) as handle:
        head = handle.read(_SAMPLE_BYTES)
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return f"The file looks like {what}: {advice}."
    if head[_TAR_PLACE:].startswith(_TAR_MAGIC):
        return "The file looks like a tar archive: unpack it (tar -x)."
    if b"\0" in head:
        return f"The file looks like binary data; expected tab-separated text ({_ORDER})."
    whole = head if len(head) < _SAMPLE_BYTES else head[: head.rfind(b"\n") + 1]
    if b"\r" in head and b"\n" not in head:
        return "Its lines end with CR only: convert them (tr '\\r' '\\n')."
    lines = [without_newline(line) for line in whole.split(b"\n")[:_LINES]]
    return _of_lines([line for line in lines if line], labelled)


def repair_gz(path: Path) -> str:
    """Return advice for a ``.gz`` that cannot be unpacked."""
    with path.open("rb") as handle:
        if not (head := handle.read(len(_GZIP))) or head == _GZIP:
            return "Download it again."
    return "It is not a gzip file: rename it without .gz if it is plain text, or else download it again."


def _of_lines(lines: Sequence[bytes], labelled: bool) -> str:
    """Describe the fault that most of the given lines share; empty if there is no such fault."""
    if not lines:
        return ""
    label: Label = "needed" if labelled else "optional"
    if not labelled and lines[0].count(b"\t") == RECORD_INTS - 2:
        label = "absent"
    faults = Counter(_fault(line, label) for line in lines)
    kind, count = faults.most_common(1)[0]
    if kind is None:
        return "Line 1 looks like a header: delete it (tail -n +2)." if _is_header(lines[0], label) else ""
    if count < _MOST * len(lines):
        return ""
    width, separator = _separator(lines)
    if separator != "\t":
        return (
            f"The file looks like {width} fields separated by {_SEPARATORS[separator]}; expected tabs "
            f"(tr '{separator}' '\\t')."
        )
    for changed, what in _CHANGES.items():
        if all(_fault(changed(line), "needed") is None for line in lines[1:] or lines):
            return what
    lines_alike = f"All of its first {len(lines)}" if count == len(lines) else f"{count} of its first {len(lines)}"
    alike = f"{lines_alike} lines have the same fault. " if len(lines) > 1 else ""
    return f"{alike}Is it a click log ({_ORDER}, separated by tabs)?"


def _fault(line: bytes, label: Label) -> str | None:
    """Return the kind of a line's fault; None if the line is valid."""
    try:
        parse_line(line, 0, label)
    except BadLineError as error:
        return error.kind
    return None


def _is_header(line: bytes, label: Label) -> bool:
    """Return whether a line has names in place of numbers."""
    fields = line.split(b"\t")
    numbers = fields[:14] if label != "absent" else fields[:13]
    named = sum(any(chr(byte).isalpha() for byte in field) for field in numbers)
    return len(fields) > 2 and named > len(numbers) // 2


def _separator(lines: Sequence[bytes]) -> tuple[int, str]:
    """Return the number of fields and their separator: a tab unless another one gives about 40 fields."""
    for separator in _SEPARATORS:
        width, count = Counter(line.count(separator.encode()) + 1 for line in lines).most_common(1)[0]
        if abs(width - RECORD_INTS) <= 1 and count >= _MOST * len(lines) and b"\t" not in lines[-1]:
            return width, separator
    return RECORD_INTS, "\t"


def _fields(line: bytes) -> list[bytes]:
    return line.split(b"\t")


# A change that may make lines valid, and the message if it does so for all of them.
_CHANGES: dict[Callable[[bytes], bytes], str] = {
    lambda line: b"0\t" + line: (
        "Its lines have no label, like those of Kaggle's test file. Score them with `predict --raw`; training and "
        "testing need labels."
    ),
    lambda line: b"0" + line: (
        "Its labels are empty. Score the rows with `predict --raw`; training and testing need labels."
    ),
    lambda line: b"\t".join(
        _fields(line)[1:]
    ): "Its lines begin with an extra column, perhaps an id: remove it (cut -f2-).",
    lambda line: b"\t".join(_fields(line)[:-1]): "Its lines end with an extra column: remove it (cut -f1-40).",
    lambda line: b"\t".join(_fields(line)[-1:] + _fields(line)[:-1]): (
        "Its label is the last column: move it to the front (awk -F'\\t' -v OFS='\\t' '{l = $NF; NF--; print l, $0}')."
    ),
    lambda line: line.strip(): "Its lines begin or end with spaces: remove them.",
    lambda line: line.replace(b'"', b""): "Its fields are quoted: remove the quotes (tr -d '\"').",
}
