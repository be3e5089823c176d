"""Input of every task of a run on a cluster: small values and paths, no rows."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.logs.log import Log, TextLog
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.errors import DataFormatError, DLRMError
from dlrm_pl.files.remote import RemoteFolder


@dataclass(frozen=True)
class Job:
    """A run on a cluster.

    Attributes:
        log: the log, with paths that are valid on every machine.
        options: options of the run; ``workers`` is the number of threads of one task.
        folder: folder of the unfinished run, which all machines share.
        buckets: number of buckets for all days together, or for each training day.
        shown: path of each file as the user gave it, by its path in this object.
        sizes: size in bytes of each file of the log.
        durable: whether the output of a task must survive a power failure. A small run can start over in less time than
            it takes to sync to disk.
        remote: folder at a URL from which the files of the log are copied; None for a shared file system.
    """

    log: Log
    options: PreprocessOptions
    folder: Path
    buckets: list[int]
    shown: dict[str, str]
    sizes: list[int]
    durable: bool
    remote: RemoteFolder | None = None

    @property
    def num_files(self) -> int:
        """Number of files of the log."""
        return len(self.sizes)

    @property
    def finished(self) -> Path:
        """Folder that becomes the dataset."""
        return self.folder / "out"

    @contextlib.contextmanager
    def with_file(self, file: int) -> Iterator[Job]:
        """Yield the job for a task that reads one file, which is copied to this machine if it is remote.

        Raises:
            DataFormatError: the file cannot be copied, or has changed.
        """
        if self.remote is None:
            yield self
            return
        assert isinstance(self.log, TextLog)
        path = list(dict.fromkeys(self.log.files))[file]
        with tempfile.TemporaryDirectory(prefix="dlrm-pl-") as folder:
            copy = Path(folder) / path.name
            self.remote.fetch(path.name, copy)
            size = self.sizes[file]
            if copy.stat().st_size != size:
                raise DataFormatError(
                    f"{self.remote.url}/{path.name}: has {copy.stat().st_size:,} bytes now, but had {size:,} when the "
                    "run began. Run the command again."
                )
            yield replace(self, log=self.log.with_file(path, copy), shown=self.shown | {folder: self.remote.url})

    def given(self) -> Vocabulary | None:
        """Return the vocabulary of another dataset whose ids are used, or None."""
        if self.options.vocabulary_from is None:
            return None
        return DatasetFolder.open(self.options.vocabulary_from, rows=False).vocabulary()

    def as_given(self, text: str) -> str:
        """Return a text with the paths as the user gave them."""
        for path, shown in self.shown.items():
            text = text.replace(path, shown)
        return text

    def name_rejected(self, path: Path) -> None:
        """Name the files of rejected rows as the user does."""
        renamed = path.with_name(f"{path.name}.named")
        with path.open("rb") as old, renamed.open("wb") as new:
            for row in old:
                name, separator, rest = row.partition(b"\t")
                new.write(self.as_given(name.decode()).encode() + separator + rest)
        renamed.rename(path)

    @contextlib.contextmanager
    def naming_files(self) -> Iterator[None]:
        """Make errors name the files as the user does."""
        try:
            yield
        except DLRMError as error:
            raise type(error)(self.as_given(str(error))) from error
