"""What each task of a run on a cluster is given: small values and paths, no rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.vocabulary import Vocabulary
from dlrm_pl.data.preprocessing.logs.log import Log
from dlrm_pl.data.preprocessing.options import PreprocessOptions
from dlrm_pl.errors import DLRMError


@dataclass(frozen=True)
class Job:
    """A run on a cluster.

    Attributes:
        log: the log, with paths that are valid on each machine.
        options: options of the run; the number of workers is that of one task.
        folder: folder of the unfinished run, which all machines share.
        buckets: number of buckets of all days together, or of each training day.
        shown: path of each file as the user gave it, by its path here.
        num_files: number of files of the log.
        durable: whether what a task has written has to survive a loss of power. A small run starts over in less time
            than the disk takes.
    """

    log: Log
    options: PreprocessOptions
    folder: Path
    buckets: list[int]
    shown: dict[str, str]
    num_files: int
    durable: bool

    @property
    def finished(self) -> Path:
        """Folder that becomes the dataset."""
        return self.folder / "out"

    def given(self) -> Vocabulary | None:
        """Return the vocabulary of another dataset whose ids are used, or None."""
        if self.options.vocabulary_from is None:
            return None
        return DatasetFolder.open(self.options.vocabulary_from, rows=False).vocabulary()

    def as_given(self, text: str) -> str:
        """Return a text with the paths that the user gave."""
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
        """Let errors name the files as the user does."""
        try:
            yield
        except DLRMError as error:
            raise type(error)(self.as_given(str(error))) from error
