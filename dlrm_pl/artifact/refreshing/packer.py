"""Pack only the table rows that differ from those of an earlier artifact, and share the rest with it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.artifact.manifest import file_sha256
from dlrm_pl.artifact.refreshing.ahead import Ahead
from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.files.sharing import share_file
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.kernels.hashing.blocks import Bytes, rows_of_block
from dlrm_pl.model.checkpoints.checksum import ParameterChecksum, segment_rows
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import TABLE_KEY
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.quantization.ptq.table_packer import TablePacker, pack_into, rows_not_finite
from dlrm_pl.runtime.table_file import map_table, storage_dtype
from dlrm_pl.runtime.table_name import file_name
from dlrm_pl.runtime.table_patch import apply_patch, patch_name, write_patch
from dlrm_pl.runtime.tables import TableDtype, row_bytes

log = logging.getLogger(__name__)

Found = tuple[Tensor, Tensor] | None
"""Indices of a table's rows whose packed bytes differ, and the packed rows; None: the whole table has to be packed."""

Changed = tuple[int, int, npt.NDArray[np.int64], Tensor]
"""Changed blocks of a segment: number of its first row, number of its rows, numbers of the blocks in it, their rows."""

_SEGMENTS_AHEAD = 4  # Segments whose digests threads compute while another segment is compared.
_TABLES_AHEAD = 2  # Tables whose changed rows threads find while those of another table are written.
_MOST_CHANGED = 8
"""A patch holds at most 1 in this many rows of its table, or one segment; otherwise the whole table is packed. This
bounds the memory of the changed rows, which are written at the end, and of patched pages where the table is used."""
_LARGE_PATCHES = 4
"""The size of all patches so far is reported once they take 1 byte in this many of the tables."""


class RefreshingPacker(TablePacker):
    """Packer that reuses the tables of an earlier artifact, with patches for the rows that differ.

    The packed rows are the same as those of a ``TablePacker``, bit for bit.

    Args:
        base: the earlier artifact.
        tables: float32 ``[rows, D]`` tables of the new model, not copied.
        folder: folder of the new artifact.
        allow_nonfinite: read NaN and infinity as 0 instead of refusing the table.
        progress: called with the number of bytes of float rows that were read.
        row_checksums: checksums of the tables, filled in when a table is read.
    """

    def __init__(
        self,
        base: RefreshBase,
        tables: Sequence[Tensor],
        folder: Path,
        *,
        allow_nonfinite: bool,
        progress: Callable[[int], None] | None,
        row_checksums: Sequence[ParameterChecksum],
    ) -> None:
        super().__init__(
            tables, folder, allow_nonfinite=allow_nonfinite, progress=progress, row_checksums=row_checksums
        )
        self._base = base
        self._rows_changed = 0
        self._patches: dict[int, list[str]] = {}
        self._found: Ahead[tuple[int, TableDtype], Found] = Ahead(self._changes, (), 0)

    @property
    def patches(self) -> dict[str, list[str]]:
        """Files with changed rows, by the op of their table, as a manifest states them."""
        return {f"tables.{index}": names for index, names in sorted(self._patches.items()) if names}

    @property
    def patched(self) -> dict[int, Tensor]:
        """Tables, by number, that are memory maps of their files with the patches applied."""
        # An fp32 table is the float model's own, see ``TablePacker.packed``.
        return {
            index: table
            for (index, dtype), table in self._packed.items()
            if self._patches.get(index) and dtype != "fp32"
        }

    def packed(self, dtypes: Sequence[TableDtype]) -> list[Tensor]:
        """Return tables in the given dtypes, see ``TablePacker.packed``; threads find the next tables' changed rows."""
        keys = [key for key in enumerate(dtypes) if key not in self._packed and self._is_taken_over(*key)]
        # Only tables with stated digests: where all rows of a table are read, threads already compute their digests.
        keys = [key for key in keys if self._is_stated(key[0])]
        with Ahead(self._changes, keys, _TABLES_AHEAD) as self._found:
            return super().packed(dtypes)

    def keep(self, dtypes: Sequence[TableDtype]) -> dict[str, str]:
        """Keep the files of these tables, with the patches; see ``TablePacker.keep``."""
        assert self._folder is not None
        files = super().keep(dtypes)
        rows = sum(len(table) for table in self._tables)
        whole = len(self._tables) - len(self._patches)
        log.info(
            "%s of %s rows have changed since %s%s",
            f"{self._rows_changed:,}",
            f"{rows:,}",
            self._base.folder,
            f", not counting those of {whole} tables that were packed as a whole" if whole else "",
        )
        stated = self._base.artifact.manifest.files
        for names in self._patches.values():
            for name in names:
                files[name] = stated.get(name) or file_sha256(self._folder / name)
        patched = sum((self._folder / name).stat().st_size for names in self._patches.values() for name in names)
        if _LARGE_PATCHES * patched > (total := sum((self._folder / name).stat().st_size for name in files)):
            log.warning(
                "the patches of this and earlier refreshes take %s, the tables %s; quantize without --refresh to "
                "write whole tables",
                format_bytes(patched),
                format_bytes(total),
            )
        return files

    def _pack(self, index: int, dtype: TableDtype) -> Tensor:
        """Take over a table, and pack its changed rows; or pack it as a whole where it is not as in the base."""
        found = self._found.take((index, dtype)) if self._is_taken_over(index, dtype) else None
        if found is None:
            return super()._pack(index, dtype)
        manifest, op = self._base.artifact.manifest, f"tables.{index}"
        rows, values = found
        if self._is_stated(index):  # Otherwise progress was reported block by block.
            self._progress(4 * self._tables[index].numel())
        assert self._folder is not None
        name = file_name(index, dtype)
        patches = list(manifest.patches.get(op, ()))
        for shared in (name, *patches):
            share_file(self._base.folder / shared, self._folder / shared)
        if len(rows):
            patches.append(patch_name(name, len(patches) + 1))
            write_patch(self._folder / patches[-1], rows, values, len(self._tables[index]))
        self._checksums[index, dtype] = manifest.files[name]
        self._patches[index] = patches
        self._rows_changed += len(rows)
        table = map_table(self._folder / name)
        for patch in patches:
            apply_patch(self._folder / patch, table)
        return table

    def _is_taken_over(self, index: int, dtype: TableDtype) -> bool:
        """Whether the base has the table in this dtype, and none of its rows was not finite: which is not known."""
        manifest, op = self._base.artifact.manifest, f"tables.{index}"
        return bool(manifest.ops[op]["dtype"] == dtype) and op not in manifest.nonfinite_rows

    def _is_stated(self, index: int) -> bool:
        """Whether changed blocks of a table are known by the digests that the checkpoint states."""
        return self._base.digests is not None and self._row_checksums[index].is_stated

    def _changes(self, key: tuple[int, TableDtype]) -> Found:
        """Find the rows of a table whose packed bytes differ; of several tables at a time.

        Returns:
            None if too many rows changed, or if a row is not finite and that is allowed, so that the table's nonfinite
            rows have to be counted.
        """
        index, dtype = key
        base = self._base.artifact.model.tables.table(index)
        most = max(len(base) // _MOST_CHANGED, segment_rows(self._tables[index].shape[1]))
        numbers, values = [], []
        rows_of_block = self._rows_of_block(index)
        for start, count, blocks, floats in self._changed_blocks(index):
            rows = _rows_of(blocks, rows_of_block, count)
            packed = torch.empty(len(floats) * row_bytes(dtype, floats.shape[1]), dtype=torch.uint8)
            packed = packed.view(storage_dtype(dtype)).view(len(floats), -1)
            wrong = pack_into(floats, dtype, packed)
            if wrong is not None:
                if not rows_not_finite(floats).any():
                    raise self.unheld(index, start + int(rows[wrong]), floats[wrong], dtype)
                if not self._allow_nonfinite:
                    raise self.refusal()
                return None
            before = _taken(base[start : start + count], blocks, rows_of_block)
            found = torch.from_numpy(np.flatnonzero((_bytes(packed) != _bytes(before)).any(axis=1)))
            numbers.append(rows[found] + start)
            values.append(packed[found])
            most -= len(found)
            if most < 0:
                return None
        if not numbers:
            return torch.empty(0, dtype=torch.int64), base[:0]
        return torch.cat(numbers), torch.cat(values)

    def _changed_blocks(self, index: int) -> Iterator[Changed]:
        """Changed blocks of a table, segment by segment."""
        name, checksum = TABLE_KEY.format(index), self._row_checksums[index]
        known = None if self._base.digests is None else self._base.digests[name]
        stated = None if known is None else checksum.read_stated()
        if known is not None and stated is not None:
            yield from self._stated_changes(index, known, stated)
            return
        pending: deque[tuple[int, Tensor, Future[tuple[Bytes, int]]]] = deque()
        checksum.begin()
        try:
            for start, segment in self._float_blocks(index):
                pending.append((start, segment, checksum.add(segment)))
                if len(pending) > _SEGMENTS_AHEAD:
                    yield from self._changed(index, known, *pending.popleft())
            while pending:
                yield from self._changed(index, known, *pending.popleft())
        except BaseException:
            checksum.stop()
            raise
        checksum.finish()

    def _stated_changes(self, index: int, known: Bytes, stated: Bytes) -> Iterator[Changed]:
        """Changed blocks by the digests that the checkpoint states; no others are read."""
        table, checksum, rows_of_block = self._tables[index], self._row_checksums[index], self._rows_of_block(index)
        checksum.take_stated(stated)
        changed = _others(stated, known)
        size = segment_rows(table.shape[1])
        segments = changed * rows_of_block // size
        for run in np.split(changed, np.flatnonzero(np.diff(segments)) + 1):
            if not len(run):
                continue
            start = int(run[0]) * rows_of_block // size * size
            segment, blocks = table[start : start + size], run
            floats = _taken(segment, blocks - start // rows_of_block, rows_of_block)
            checksum.check_blocks(blocks, floats)
            yield start, len(segment), blocks - start // rows_of_block, floats

    def _changed(
        self, index: int, known: Bytes | None, start: int, segment: Tensor, future: Future[tuple[Bytes, int]]
    ) -> Iterator[Changed]:
        digests, _ = future.result()
        if known is None:
            changed = np.arange(len(digests))
        else:
            first = start // self._rows_of_block(index)
            changed = _others(digests, known[first : first + len(digests)])
        if len(changed):
            yield start, len(segment), changed, _taken(segment, changed, self._rows_of_block(index))

    def _rows_of_block(self, index: int) -> int:
        return rows_of_block(4 * self._tables[index].shape[1])


def refreshing_packer(
    base: RefreshBase,
    model: DLRM,
    folder: Path,
    progress: Callable[[int], None] | None,
    checksums: Mapping[str, ParameterChecksum],
) -> RefreshingPacker:
    """Make a packer for the tables of a model; see ``table_packer``."""
    bags = bags_of(model)
    tables = bags.weights()
    return RefreshingPacker(
        base,
        tables,
        folder,
        allow_nonfinite=bags.nonfinite_as_zero,
        progress=progress,
        row_checksums=[checksums[TABLE_KEY.format(index)] for index in range(len(tables))],
    )


def _others(digests: Bytes, known: Bytes) -> npt.NDArray[np.int64]:
    """Return the numbers of the digests that differ, compared as two words each: four times as fast as by bytes."""
    ours, theirs = digests.view(np.uint64), known.view(np.uint64)
    differs = ours[:, 0] != theirs[:, 0]
    for word in range(1, ours.shape[1]):
        differs |= ours[:, word] != theirs[:, word]
    return np.flatnonzero(differs)


def _rows_of(blocks: npt.NDArray[np.int64], rows_of_block: int, count: int) -> Tensor:
    """Return the numbers of the rows of some blocks, where there are ``count`` rows."""
    rows = (blocks[:, None] * rows_of_block + np.arange(rows_of_block)).ravel()
    return torch.from_numpy(rows[rows < count])


def _taken(rows: Tensor, blocks: npt.NDArray[np.int64], rows_of_block: int) -> Tensor:
    """Return the rows of some blocks, the last of which may be shorter: whole blocks are copied faster than rows."""
    whole = len(rows) // rows_of_block
    if len(blocks) == -(-len(rows) // rows_of_block):
        return rows
    of_blocks = rows[: whole * rows_of_block].view(whole, -1)
    taken = of_blocks.index_select(0, torch.from_numpy(blocks[blocks < whole])).view(-1, rows.shape[1])
    return torch.cat([taken, rows[whole * rows_of_block :]]) if blocks[-1] == whole else taken


def _bytes(rows: Tensor) -> npt.NDArray[np.generic]:
    """Return packed rows as words or bytes, which compare the bits also of floats."""
    flat = rows.view(torch.uint8).numpy()
    return flat.view(np.int32) if flat.shape[1] % 4 == 0 else flat
