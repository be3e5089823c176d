"""A dataset at a URL: made in a local folder first, then copied there, with its description last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_pl.data.formats.dataset_description import DESCRIPTION_NAME
from dlrm_pl.data.preprocessing.checkpoint import differences
from dlrm_pl.documents.json_text import parse_json
from dlrm_pl.errors import OutputError
from dlrm_pl.files.remote import RemoteFolder

_UNFINISHED = "dlrm-pl.uploading"
_AT_ONCE = 4


@dataclass(frozen=True)
class RemoteDataset:
    """A dataset at a URL.

    Attributes:
        folder: folder of the dataset.
        overwrite: whether a dataset that was made from other logs or with other options may be replaced.
    """

    folder: RemoteFolder
    overwrite: bool

    def check(self, key: Mapping[str, Any]) -> None:
        """Check, before the work, that the folder may be written.

        Args:
            key: options and inputs of the run, as JSON values.

        Raises:
            OutputError: the folder contains something else.
        """
        names = self.folder.names()
        if DESCRIPTION_NAME not in names:
            if names and _UNFINISHED not in names:
                raise OutputError(
                    f"{self.folder.url}: holds files that this command did not write, such as {sorted(names)[0]}. "
                    "Choose another folder."
                )
            return
        where = f"{self.folder.url}/{DESCRIPTION_NAME}"
        found = parse_json(self.folder.read(DESCRIPTION_NAME), where, OutputError, "Choose another folder.")
        made_from = found.get("preprocess") if isinstance(found, dict) else None
        if made_from != key and not self.overwrite:
            changes = differences(made_from, key) if isinstance(made_from, Mapping) else ["by another command"]
            raise OutputError(
                f"{self.folder.url}: holds a dataset that was made differently: {'; '.join(changes)}. Choose another "
                "folder, or give --overwrite to replace it."
            )

    def upload(self, made: Path, progress: Callable[[str, float, int], None]) -> None:
        """Copy a dataset to the URL, unless it is there already.

        Args:
            made: folder of the dataset on this machine.
            progress: called with the stage, the share of it that is done, and 0 rows.

        Raises:
            OutputError: a file cannot be written.
        """
        description = made / DESCRIPTION_NAME
        old = set(self.folder.names())
        if DESCRIPTION_NAME in old:
            if self.folder.read(DESCRIPTION_NAME) == description.read_bytes():
                return
            # Written first, so that an interrupted upload does not look like a dataset.
            self.folder.write(_UNFINISHED, b"")
            self.folder.remove(DESCRIPTION_NAME)
        self.folder.write(_UNFINISHED, b"")
        paths = sorted(path for path in made.iterdir() if path != description)
        sizes = {path: path.stat().st_size for path in paths}
        done, total = 0, max(1, sum(sizes.values()))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            copies = {pool.submit(self.folder.put, path): path for path in paths}
            try:
                for copy in as_completed(copies):
                    copy.result()
                    done += sizes[copies[copy]]
                    progress("uploading", done / total, 0)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for name in old - {path.name for path in paths} - {DESCRIPTION_NAME, _UNFINISHED}:
            self.folder.remove(name)  # File of the dataset that is replaced.
        self.folder.put(description)
        self.folder.remove(_UNFINISHED)
