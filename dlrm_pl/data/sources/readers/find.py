"""Find the files of a source in a folder, and recognise their formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.data.sources.readers.compression import compression_of, open_unpacked, reading
from dlrm_pl.data.sources.readers.endings import ENDINGS, FORMAT_ENDINGS, Format, stated_format
from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import DataFormatError
from dlrm_pl.files.watched import FileState

NAMES: dict[Format, str] = {"csv": "CSV", "parquet": "Parquet", "arrow": "Arrow"}
"""Names of the formats, for messages."""

_HEAD = 512
_FORMATS: dict[bytes, Format] = {b"PAR1": "parquet", b"ARROW1": "arrow"}
_ARROW_STREAM = b"\xff\xff\xff\xff"
_CONVERT = "write it as CSV, Parquet or Arrow"
# First bytes of binary files, their formats, and advice.
_BINARY = (
    (b"FEA1", "a Feather file of version 1", _CONVERT),
    (b"PARE", "an encrypted Parquet file", "decrypt it"),
    (b"ORC", "an ORC file", _CONVERT),
    (b"Obj\x01", "an Avro file", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", _CONVERT),
    (b"\xff\xfe", "text in UTF-16", "convert it (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "text in UTF-16", "convert it (iconv -f UTF-16 -t UTF-8)"),
)
_TEXT = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself (git lfs pull)"),
    (b"<", "a web page or XML", "get the file again"),
    (b"{", "JSON", _CONVERT),
    (b"[", "JSON", _CONVERT),
)
_CONTROL = frozenset(range(9))  # Rare in text, but soon found in binary files.


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        path: path of the file.
        format: format of the file.
        compression: compression of the whole file; None if it is not compressed.
        state: state of the file when it was recognised.
    """

    path: Path
    format: Format
    compression: str | None
    state: FileState

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.state.size

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check, after the file was read or reading failed, that the name still refers to the same file.

        Raises:
            DataFormatError: the file was changed, replaced or removed; this error replaces any other, since it names
                the cause.
        """
        try:
            yield
        except Exception:
            self.check_unchanged()
            raise
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Check that the name still refers to the same file, in the same state.

        Raises:
            DataFormatError: the file was changed, replaced or removed.
        """
        try:
            now = FileState.of(self.path)
        except OSError:
            raise DataFormatError(
                f"{self.path}: was removed while it was being read. Put it back, and start again."
            ) from None
        if now != self.state:
            what = "changed" if now.is_same_file(self.state) else "replaced"
            raise DataFormatError(
                f"{self.path}: was {what} while it was being read: it had {self.state}, and now has {now}. Start "
                "again when no other program is writing it."
            )


def find_files(path: Path) -> list[SourceFile]:
    """Return a file, or the files of a folder sorted by name with numbers by value: ``part-9`` before ``part-10``.

    Files whose names begin with a dot or an underscore are skipped, as in other programs.

    Raises:
        DataFormatError: there is no file, or one has an unknown format or compression, or formats differ.
    """
    if not path.is_dir():
        return [recognise(path)]
    entries = sorted(path.iterdir(), key=natural_key)
    paths = [entry for entry in entries if not entry.name.startswith((".", "_"))]
    if folder := next((entry for entry in paths if entry.is_dir()), None):
        raise DataFormatError(
            f"{path}: contains a folder, {folder.name}. Put all files into one folder, or give that folder."
        )
    if not paths:
        raise DataFormatError(f"{path}: is an empty folder; expected CSV, Parquet or Arrow files.")
    files = [recognise(entry) for entry in paths]
    for file in files:
        if file.format != files[0].format:
            raise DataFormatError(
                f"{path}: contains files of different formats: {files[0].path.name} is {NAMES[files[0].format]}, "
                f"{file.path.name} is {NAMES[file.format]}. Give each format its own folder."
            )
    return files


def recognise(path: Path) -> SourceFile:
    """Recognise the format and the compression of a file.

    Raises:
        DataFormatError: the file is missing or empty, or has an unknown format or compression.
    """
    try:
        state = FileState.of(path)
        if not state.size:
            raise DataFormatError(f"{path}: is empty.")
        compression = compression_of(path)
        with reading(path), open_unpacked(path, compression) as handle:
            head = handle.read(_HEAD)
    except FileNotFoundError:
        raise DataFormatError(f"{path}: no such file or folder.") from None
    if not head:
        raise DataFormatError(f"{path}: is empty after unpacking.")
    return SourceFile(path, _format(path, head, compression), compression, state)


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts names with numbers by value."""
    return natural_text_key(path.name)


def natural_text_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts strings with numbers by value."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if part.isdecimal() and len(part) < 4000 else (-1, part) for part in parts], text


def _format(path: Path, head: bytes, compression: str | None) -> Format:
    stated = stated_format(path)
    is_binary = not _CONTROL.isdisjoint(head)
    if head.startswith(_ARROW_STREAM):
        return "arrow"
    for magic, format_ in _FORMATS.items():
        if is_binary and head.startswith(magic):
            if compression:
                raise DataFormatError(
                    f"{path}: is a compressed {NAMES[format_]} file, in which single parts cannot be located. Unpack "
                    "it; the format compresses its own parts."
                )
            return format_
    for magic, what, advice in _BINARY if is_binary else _TEXT:
        if head.startswith(magic):
            raise DataFormatError(f"{path}: looks like {what}: {advice}.")
    if b"\0" in head:
        raise DataFormatError(f"{path}: looks like binary data: {_CONVERT}.")
    if stated in ("parquet", "arrow"):
        raise DataFormatError(
            f"{path}: is not a valid {NAMES[stated]} file; it begins with {shown(head[:8])}. Get it again."
        )
    if stated is None and _ending(path):
        raise DataFormatError(
            f"{path}: has an unknown format. Give files whose names end in {', '.join(FORMAT_ENDINGS)}, optionally "
            f"compressed ({', '.join(ENDINGS)})."
        )
    return "csv"


def _ending(path: Path) -> str:
    endings = [ending for ending in path.suffixes if ending.lower() not in ENDINGS]
    return endings[-1] if endings and not endings[-1][1:].isdecimal() else ""
