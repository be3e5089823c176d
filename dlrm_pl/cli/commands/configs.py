"""List or copy the included YAML files."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Literal

from dlrm_pl.cli.output import Report


def configs(action: Literal["list", "copy"], output: str = "configs", overwrite: bool = False) -> Report:
    """List the YAML files that come with the program, or copy them.

    `-c quickstart` and `-c quantization/int8` read them by name; copy them to change them.

    Args:
        action: ``list`` or ``copy``.
        output: folder to copy to.
        overwrite: replace files there that differ.
    """
    from dlrm_pl.cli.arguments.config_files import FOLDER, config_names
    from dlrm_pl.files.atomic import atomic_file
    from dlrm_pl.files.destinations import check_file, check_is_no_file, holds, resolved

    files = config_names()
    if action == "list":
        summaries = {name: _summary(path) for name, path in files.items()}
        text = "\n".join(f"{name:<26}{summary}".rstrip() for name, summary in summaries.items())
        text += "\n\nPass a name to -c; the prefix experiment/ may be left out, as in: fit -c quickstart"
        listed = [{"name": name, "path": path, "summary": summaries[name]} for name, path in files.items()]
        return Report({"configs": listed}, text)
    folder = Path(output)
    check_is_no_file(folder)
    targets = {path: resolved(folder) / path.relative_to(FOLDER) for path in files.values()}
    for path, target in targets.items():  # All targets are checked before the first one is written.
        check_file(target, overwrite or holds(target, path.read_bytes()))
    for path, target in targets.items():
        with atomic_file(target, "wb") as handle:
            handle.write(path.read_bytes())
    return Report({"output": output, "files": list(targets.values())}, f"{output}: {len(files)} files")


def _summary(path: Path) -> str:
    """Return the first sentence of a file's comments, without the commands that run it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line[1:].strip() for line in takewhile(lambda line: line[:1] == "#", lines)]
    text = " ".join(line for line in comments if not line.startswith("python cli.py"))
    return re.split(r"\. (?=[A-Z`])", text, maxsplit=1)[0].removesuffix(".")
