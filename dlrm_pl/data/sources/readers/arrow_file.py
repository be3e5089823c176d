"""Arrow files, which are also Feather files, and Arrow streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrm_pl.data.sources.library import arrow
from dlrm_pl.data.sources.readers.compression import open_unpacked, reading
from dlrm_pl.data.sources.readers.table_file import Batch

_FILE = b"ARROW1"
_READ_BYTES = 64 << 20  # Larger batches are memory-mapped, since they may not fit in memory.


class ArrowFile:
    """An Arrow file, or a stream in a file; see ``TableFile``.

    Args:
        path: path of the file.
        compression: compression of a stream.

    Raises:
        DataFormatError: the file is damaged.
    """

    def __init__(self, path: Path, compression: str | None) -> None:
        self.path = path
        self._compression = compression
        with path.open("rb") as handle:
            self._is_stream = handle.read(len(_FILE)) != _FILE
        self._is_mapped = False
        self.num_rows: int | None = None
        with self._opened() as reader:
            self.schema = reader.schema
            if not self._is_stream:
                self.num_rows = reader.count_rows()
                self._is_mapped = path.stat().st_size > _READ_BYTES * reader.num_record_batches

    def batches(self, names: Sequence[str], first_row: int, most_rows: int, *, threads: bool) -> Iterator[Batch]:
        """Yield the rows from a given one on, in order; see ``TableFile``."""
        del threads
        skip = first_row
        with self._opened(names) as reader:
            for batch in _batches(reader, self._is_stream):
                kept = batch.slice(skip)
                skip -= min(skip, batch.num_rows)
                for start in range(0, kept.num_rows, most_rows):
                    part = kept.slice(start, most_rows)
                    yield Batch(arrow().Table.from_batches([part]).select(list(names)))

    @contextmanager
    def _opened(self, names: Sequence[str] | None = None) -> Iterator[Any]:
        pa = arrow()
        fields = None if names is None else [self.schema.get_field_index(name) for name in names]
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        with reading(self.path):
            if self._is_stream:
                with open_unpacked(self.path, self._compression) as handle:
                    yield pa.ipc.open_stream(handle, options=options)
            else:
                # Mapped only if needed: the system kills a process that reads a mapped file after it was truncated.
                with (pa.memory_map if self._is_mapped else pa.OSFile)(str(self.path)) as handle:
                    yield pa.ipc.open_file(handle, options=options)


def _batches(reader: Any, is_stream: bool) -> Iterator[Any]:
    if is_stream:
        yield from reader
    else:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
