"""What a file that is no click log looks like, and what to do with it: asked when a line was refused."""

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
_MOST = 0.9  # Of the lines: then it is the format, and not a few bad ones.
_GZIP = b"\x1f\x8b"
# Files by their first bytes: what they are, and what to do.
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
    (b"<", "a web page or XML", "download the log again, this may be the server's error"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself (git lfs pull)"),
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
    """Say which format a file seems to have, from its beginning, and what to do.

    Args:
        path: of a log with a line that is no row.
        labelled: as for ``iter_raw_records``.

    Returns:
        whole sentences; empty where most lines are rows, or the file cannot be read.
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
        return f"The file looks like binary data; tab-separated text is needed ({_ORDER})."
    whole = head if len(head) < _SAMPLE_BYTES else head[: head.rfind(b"\n") + 1]
    if b"\r" in head and b"\n" not in head:
        return "Its lines end in CR alone: convert them (tr '\\r' '\\n')."
    lines = [without_newline(line) for line in whole.split(b"\n")[:_LINES]]
    return _of_lines([line for line in lines if line], labelled)


def repair_gz(path: Path) -> str:
    """What to do about a ``.gz`` that cannot be unpacked."""
    with path.open("rb") as handle:
        if not (head := handle.read(len(_GZIP))) or head == _GZIP:
            return "Download it again."
    return "It is no gzip file: rename it without .gz if it is plain text, else download it again."


def _of_lines(lines: Sequence[bytes], labelled: bool) -> str:
    """What most of some lines have in common."""
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
            f"The file looks like {width} fields separated by {_SEPARATORS[separator]}; tabs are needed "
            f"(tr '{separator}' '\\t')."
        )
    for changed, what in _CHANGES.items():
        if all(_fault(changed(line), "needed") is None for line in lines[1:] or lines):
            return what
    lines_alike = f"All of its first {len(lines)}" if count == len(lines) else f"{count} of its first {len(lines)}"
    alike = f"{lines_alike} lines have the same fault. " if len(lines) > 1 else ""
    return f"{alike}Is it a click log ({_ORDER}, separated by tabs)?"


def _fault(line: bytes, label: Label) -> str | None:
    """The kind of fault; None of a row."""
    try:
        parse_line(line, 0, label)
    except BadLineError as error:
        return error.kind
    return None


def _is_header(line: bytes, label: Label) -> bool:
    """Whether a line has names where rows have numbers."""
    fields = line.split(b"\t")
    numbers = fields[:14] if label != "absent" else fields[:13]
    named = sum(any(chr(byte).isalpha() for byte in field) for field in numbers)
    return len(fields) > 2 and named > len(numbers) // 2


def _separator(lines: Sequence[bytes]) -> tuple[int, str]:
    """Fields of most lines, and what separates them: a tab if nothing else makes about as many as a row has."""
    for separator in _SEPARATORS:
        width, count = Counter(line.count(separator.encode()) + 1 for line in lines).most_common(1)[0]
        if abs(width - RECORD_INTS) <= 1 and count >= _MOST * len(lines) and b"\t" not in lines[-1]:
            return width, separator
    return RECORD_INTS, "\t"


def _fields(line: bytes) -> list[bytes]:
    return line.split(b"\t")


# What makes a row of a line, and what is to be said when it does so with all of them.
_CHANGES: dict[Callable[[bytes], bytes], str] = {
    lambda line: b"0\t" + line: (
        "Its lines have no label, as those of Kaggle's test file: such rows can be scored with `predict --raw`, but "
        "neither trained nor tested on."
    ),
    lambda line: b"0" + line: (
        "Its labels are empty: such rows can be scored with `predict --raw`, but neither trained nor tested on."
    ),
    lambda line: b"\t".join(
        _fields(line)[1:]
    ): "Its lines begin with one more column, an id perhaps: cut it off (cut -f2-).",
    lambda line: b"\t".join(_fields(line)[:-1]): "Its lines end with one more column: cut it off (cut -f1-40).",
    lambda line: b"\t".join(_fields(line)[-1:] + _fields(line)[:-1]): (
        "Its label stands last: put it first (awk -F'\\t' -v OFS='\\t' '{l = $NF; NF--; print l, $0}')."
    ),
    lambda line: line.strip(): "Its lines have blanks at their ends: remove them.",
    lambda line: line.replace(b'"', b""): "Its fields stand in quotes: remove these (tr -d '\"').",
}
