"""The YAML files that come with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def configs(action: Literal["list", "copy"], output: str = "configs", overwrite: bool = False) -> None:
    """List the YAML files that come with the program, or copy them.

    `-c quickstart` and `-c quantization/int8` find them by name; a copy is for changing.

    Args:
        action: ``list`` or ``copy``.
        output: folder to copy to.
        overwrite: replace files there that differ.
    """
    from dlrm_pl.cli.config_files import FOLDER, config_names
    from dlrm_pl.files.atomic import atomic_file
    from dlrm_pl.files.destinations import check_file, check_is_no_file, resolved

    files = config_names()
    if action == "list":
        for name, path in files.items():
            comments = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
            print(f"{name:<26}{next((line for line in comments if not line.startswith('python cli.py')), '')}".rstrip())
        return
    folder = Path(output)
    check_is_no_file(folder)
    targets = {path: resolved(folder) / path.relative_to(FOLDER) for path in files.values()}
    for path, target in targets.items():  # All of them before the first is written.
        check_file(target, overwrite or (target.is_file() and target.read_bytes() == path.read_bytes()))
    for path, target in targets.items():
        with atomic_file(target, "wb") as handle:
            handle.write(path.read_bytes())
    print(f"{output}: {len(files)} files")
