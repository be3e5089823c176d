"""Folders in object stores and other unmounted file systems, through fsspec: ``s3://``, ``gs://``, ``hdfs://``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrm_pl.errors import ConfigurationError, DataFormatError, DLRMError, OutputError
from dlrm_pl.extras import missing_extra

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://.+")
_HEAD_BYTES = 1 << 20
_TAIL_BYTES = 64 << 10


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a URL, such as ``s3://bucket/logs/day``, instead of a local path."""
    return _URL.fullmatch(os.fspath(path)) is not None


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at a URL.

    Attributes:
        url: its URL, without a slash at its end.
    """

    url: str

    def outline(self, beginning: str, folder: Path) -> None:
        """Make placeholder files for those in this folder, with their size and only their first and last bytes.

        They tell everything that depends on names, sizes, times and first bytes before the files are copied.

        Args:
            beginning: prefix of the names of the files.
            folder: existing folder on this machine.

        Raises:
            ConfigurationError: fsspec, or its plugin for this kind of URL, is not installed.
            DataFormatError: the folder is missing or cannot be read.
        """
        with self._opened() as (system, root):
            for entry in system.ls(root, detail=True):
                name = entry["name"].rstrip("/").rpartition("/")[2]
                if entry["type"] == "file" and name.startswith(beginning):
                    self._outline_file(system, entry, folder / name)

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to this machine.

        Raises:
            DataFormatError: the file is missing or cannot be read.
        """
        with self._opened(name) as (system, root):
            system.get_file(f"{root}/{name}", str(target))

    def names(self) -> list[str]:
        """Return the names of the files in the folder; none if it is missing.

        Raises:
            ConfigurationError: fsspec, or its plugin for this kind of URL, is not installed.
            DataFormatError: the folder cannot be read.
        """
        with self._opened() as (system, root):
            try:
                entries = system.ls(root, detail=False)
            except FileNotFoundError:
                return []
            return [name.rstrip("/").rpartition("/")[2] for name in entries if name.rstrip("/") != root]

    def read(self, name: str) -> bytes:
        """Return the contents of a small file.

        Raises:
            DataFormatError: the file is missing or cannot be read.
        """
        with self._opened(name) as (system, root):
            return bytes(system.cat_file(f"{root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a small file.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._opened(name, OutputError) as (system, root):
            system.makedirs(root, exist_ok=True)
            system.pipe_file(f"{root}/{name}", data)

    def put(self, path: Path) -> None:
        """Copy a file from this machine to the folder, under the same name.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._opened(path.name, OutputError) as (system, root):
            system.put_file(str(path), f"{root}/{path.name}")

    def remove(self, name: str) -> None:
        """Delete a file.

        Raises:
            OutputError: the file cannot be deleted.
        """
        with self._opened(name, OutputError) as (system, root):
            system.rm_file(f"{root}/{name}")

    @staticmethod
    def _outline_file(system: Any, entry: dict[str, Any], path: Path) -> None:
        size = int(entry["size"])
        with path.open("wb") as handle:
            handle.write(system.cat_file(entry["name"], start=0, end=min(size, _HEAD_BYTES)))
            handle.truncate(size)
            if size > _HEAD_BYTES:
                first = max(_HEAD_BYTES, size - _TAIL_BYTES)
                handle.seek(first)
                handle.write(system.cat_file(entry["name"], start=first, end=size))
        changed = next((entry[field] for field in ("mtime", "LastModified", "created", "updated") if field in entry), 0)
        seconds = changed.timestamp() if hasattr(changed, "timestamp") else changed
        time_ns = int(seconds * 1e9) if isinstance(seconds, int | float) else 0
        os.utime(path, ns=(time_ns, time_ns))

    @contextmanager
    def _opened(self, name: str = "", kind: type[DLRMError] = DataFormatError) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the folder's path in it; errors name the URL."""
        where = f"{self.url}/{name}" if name else self.url
        try:
            import fsspec
        except ImportError as error:
            raise missing_extra(f"{where}: URLs need fsspec", "cluster", error) from None
        try:
            system, root = fsspec.core.url_to_fs(self.url)
            yield system, root.rstrip("/")
        except (ImportError, ValueError) as error:
            raise ConfigurationError(f"{where}: cannot be opened ({error}).") from error
        except FileNotFoundError as error:
            raise kind(f"{where}: does not exist.") from error
        except OSError as error:
            done = "written" if kind is OutputError else "read"
            raise kind(f"{where}: cannot be {done} ({error}).") from error
