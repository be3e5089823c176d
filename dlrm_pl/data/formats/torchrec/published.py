"""Compare a folder with the days whose checksums MLPerf has published."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.data.formats.torchrec.folder import DaysFolder
from dlrm_pl.documents.fields import Positive, make
from dlrm_pl.documents.json_text import read_json
from dlrm_pl.errors import ConfigurationError, DataFormatError

_READ_BYTES = 8 << 20


@dataclass(frozen=True)
class PublishedDays:
    """Published facts about some days.

    Attributes:
        about: description of the days.
        rows_by_day: number of rows of each day.
        md5: checksum of each day's file, by the ending of the file's name.
    """

    about: str
    rows_by_day: tuple[Positive, ...]
    md5: dict[str, tuple[str, ...]]

    @classmethod
    def mlperf(cls) -> PublishedDays:
        """Return those of MLPerf's DLRM-DCNv2: Criteo's 24 days, with single ids or with synthetic bags."""
        path = Path(__file__).with_name("published.json")
        return make(cls, read_json(path, DataFormatError, ""), str(path), DataFormatError)

    def difference(self, rows: Sequence[int]) -> str:
        """Describe how the rows of days differ from the published ones; "" if they do not."""
        if len(rows) != len(self.rows_by_day):
            return f"it has {len(rows)} days, but the published data has {len(self.rows_by_day)}"
        for day, (count, wanted) in enumerate(zip(rows, self.rows_by_day, strict=True)):
            if count != wanted:
                return f"day {day} has {count:,} rows, but {wanted:,} in the published data"
        return ""

    def check(self, days: DaysFolder, progress: Callable[[int], None]) -> str:
        """Compare each file with its published checksum, on all processors.

        Args:
            days: the folder.
            progress: called with the number of bytes read since the last call.

        Returns:
            A text that says what was checked.

        Raises:
            ConfigurationError: the folder has other rows, so no checksums of its files are published.
            DataFormatError: a file differs; the message names the first one, in the order of the days.
        """
        if other := self.difference(days.rows):
            raise ConfigurationError(
                f"{days.path}: there are no published checksums of these days: {other}. Leave out --checksums."
            )
        lock, stopped = threading.Lock(), threading.Event()

        def advance(size: int) -> None:
            with lock:
                progress(size)

        files = list(self._files(days))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            try:
                found = pool.map(lambda file: _md5(file[0], advance, stopped), files)
                for (path, wanted), checksum in zip(files, found, strict=True):
                    if checksum != wanted:
                        raise DataFormatError(
                            f"{path}: differs from the published file: its MD5 is {checksum}, not {wanted}. Copy it "
                            "again, or make it again: other versions of TorchRec have given different ids."
                        )
            finally:
                stopped.set()
        return f"all {len(files)} files against the published MD5 sums"

    def _files(self, days: DaysFolder) -> Iterator[tuple[Path, str]]:
        for number, day in enumerate(days.files):
            for path in (day.dense, day.labels, day.ids):
                yield path, self.md5[path.name.removeprefix(f"day_{number}_")][number]


def total_bytes(days: DaysFolder) -> int:
    """Return the total size of all files in a folder, in bytes."""
    return sum(state.size for state in days.states.values())


def _md5(path: Path, advance: Callable[[int], None], stopped: threading.Event) -> str:
    """Return the MD5 of a file; "" if another thread has found a difference meanwhile."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as handle:
        while data := handle.read(_READ_BYTES):
            if stopped.is_set():
                return ""
            digest.update(data)
            advance(len(data))
    return digest.hexdigest()
