"""The command that trains with the settings that a sweep has found."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from dlrm_pl.cli.arguments.config_files import FOLDER
from dlrm_pl.cli.arguments.sweep_options import OPTIONS
from dlrm_pl.documents.yaml_text import read_yaml
from dlrm_pl.errors import ConfigurationError, DLRMError


def fit_command(args: Sequence[str], best: Path) -> str:
    """Return the `fit` command with the configuration of a sweep, followed by its best settings.

    Args:
        args: command line of the sweep, without the command.
        best: file with the best settings.
    """
    words: list[str] = []
    options = iter(_options(args))
    for option in options:
        name = option[0].partition("=")[0].lstrip("-")
        if name.partition(".")[0] in OPTIONS:
            continue
        if name in ("c", "config"):
            path = option[0].partition("=")[2] or "".join(option[1:])
            if _is_of_fit(path):
                words += ["-c", _short(path)]
        else:
            words += option
    return shlex.join(["dlrm-pl", "fit", *words, "-c", str(best)])


def _options(args: Sequence[str]) -> list[list[str]]:
    """Divide a command line into options with their values."""
    options: list[list[str]] = []
    for word in args:
        if word.startswith("-") and not word[1:2].isdigit():
            options.append([word])
        elif options:
            options[-1].append(word)
    return options


def _is_of_fit(path: str) -> bool:
    """Whether a file has no options of `sweep`, which `fit` would refuse."""
    try:
        stated = read_yaml(Path(path), ConfigurationError, "")
    except DLRMError:
        return True  # Not a file: YAML on the command line.
    return not isinstance(stated, dict) or not set(stated) & set(OPTIONS) - {"ckpt_path", "weights_only"}


def _short(path: str) -> str:
    """Return the name of an included file, or the path of any other file."""
    place = Path(path)
    return place.stem if place.is_relative_to(FOLDER) else path
