"""Archives whose bytes depend only on their files."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path


def normalize_sdist(path: Path, time: int) -> None:
    """Rewrite a source distribution: sorted, with equal dates, without its builder's name and permissions.

    Args:
        path: the ``.tar.gz``, which is replaced.
        time: what all files are dated, in seconds since 1970.
    """
    written = io.BytesIO()
    with (
        tarfile.open(path) as source,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=written, mtime=time) as zipped,
        tarfile.open(mode="w", fileobj=zipped, format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            member.mtime, member.pax_headers = time, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    path.write_bytes(written.getvalue())


def differences(first: Path, second: Path) -> list[str]:
    """Where two archives of the same kind differ: names of members, or what is not in any of them.

    Returns:
        Nothing if their bytes are the same.
    """
    if first.read_bytes() == second.read_bytes():
        return []
    members, others = _members(first), _members(second)
    found = [f"{name}: in one of them only" for name in sorted(members.keys() ^ others.keys())]
    for name in sorted(members.keys() & others.keys()):
        (described, content), (other_described, other_content) = members[name], others[name]
        if content != other_content:
            found.append(f"{name}: other content")
        elif described != other_described:
            found.append(f"{name}: {described} and {other_described}")
    return found or [f"{first.name}: the same files in other bytes (their order, or the compression)"]


def _members(path: Path) -> dict[str, tuple[str, bytes]]:
    """Description and content of each member by its name."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {
                info.filename: (f"mode {info.external_attr >> 16:o}, {info.date_time}", wheel.read(info))
                for info in wheel.infolist()
            }
    with tarfile.open(path) as sdist:
        return {
            member.name: (
                f"mode {member.mode:o}, {member.mtime}, {member.uname}:{member.gname}",
                file.read() if (file := sdist.extractfile(member)) else b"",
            )
            for member in sdist.getmembers()
        }
