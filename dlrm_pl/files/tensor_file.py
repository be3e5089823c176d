"""Small files of named tensors (safetensors), with the same file mode as the user's other files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name; the same tensors in the same order give the same bytes.

    Raises:
        OSError: the file cannot be written; ``errno`` says why.
    """
    path.touch()
    # The library creates files that only their owner can read, so the mode of the user's other files is set below.
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
        path.chmod(mode)
    except SafetensorError as error:
        # The library states the operating system's error only in its message.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
