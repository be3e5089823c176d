"""The YAML files that come with the program, by name."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.program import program_name

# In a checkout a link to its top folder.
FOLDER = Path(__file__).parents[1] / "configs"
# What each option reads. A run is an experiment, to which other files may add.
_GROUPS = {
    "-c": ("experiment", "quantization"),
    "--config": ("experiment", "quantization"),
    "--model": ("model",),
    "--data": ("data",),
    "--trainer": ("trainer",),
}
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")


def config_names() -> dict[str, Path]:
    """Every file, by its name: ``experiment/quickstart``."""
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.glob("*/*.yaml"))}


def with_config_files(args: list[str]) -> list[str]:
    """A command line in which the names of files that come with the program are their paths.

    Raises:
        ConfigurationError: ``-c`` is given neither a file nor such a name, or one that several files have.
    """
    found = list(args)
    for index, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option in _GROUPS and equals:
            found[index] = f"{option}={_file(option, value)}"
        elif arg in _GROUPS and index + 1 < len(args):
            found[index + 1] = _file(arg, args[index + 1])
    return found


def _file(option: str, value: str) -> str:
    """The path of the file that a value names; any other value as it is."""
    if not _NAME.fullmatch(value) or Path(value).is_file():
        return value
    names = config_names()
    # As it is written in a checkout, too.
    wanted = value.removesuffix(".yaml").removeprefix("configs/")
    groups = _GROUPS[option]
    fitting = [name for name in names if name == wanted or name in {f"{group}/{wanted}" for group in groups}]
    if len(fitting) == 1:
        return str(names[fitting[0]])
    if option not in ("-c", "--config"):
        return value  # For the parser to judge.
    if fitting:
        raise ConfigurationError(f"{value}: is the name of {' and '.join(fitting)}. Give one of these.")
    short = {name.partition("/")[2]: name for name in names if name.partition("/")[0] in groups}
    close = difflib.get_close_matches(wanted, [*names, *short], n=1)
    hint = f" Did you mean {short.get(close[0], close[0])}?" if close else ""
    raise ConfigurationError(
        f"{value}: there is no such configuration file, and none of that name comes with the program.{hint} "
        f"`{program_name()} configs list` shows those that do."
    )
