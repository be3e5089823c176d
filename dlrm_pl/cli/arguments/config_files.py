"""Find the included YAML files by name."""

from __future__ import annotations

import difflib
import logging
import re
from pathlib import Path

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.program import program_name

log = logging.getLogger(__name__)

# In a checkout this is a link to the top folder's configs.
FOLDER = Path(__file__).parents[2] / "configs"
# The folders that each option looks in. A run takes an experiment, and optionally a quantization on top of it.
_GROUPS = {
    "-c": ("experiment", "quantization"),
    "--config": ("experiment", "quantization"),
    "--model": ("model",),
    "--data": ("data",),
    "--trainer": ("trainer",),
}
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")
# Former names, accepted until the next version.
_RENAMED = {"seed": "lpot_example", "quantization/seed": "quantization/lpot_example"}


def config_names() -> dict[str, Path]:
    """Map each name, such as ``experiment/quickstart``, to its file."""
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.glob("*/*.yaml"))}


def with_config_files(args: list[str]) -> list[str]:
    """Replace the names of included files in a command line by their paths.

    Raises:
        ConfigurationError: The value of ``-c`` is neither a file nor a known name, or several files have that name.
    """
    replaced = list(args)
    for index, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option in _GROUPS and equals:
            replaced[index] = f"{option}={_file(option, value)}"
        elif arg in _GROUPS and index + 1 < len(args):
            replaced[index + 1] = _file(arg, args[index + 1])
    return replaced


def refuse_names_of_runs(command: str, args: list[str]) -> None:
    """Check the command line of a command without a Trainer, whose ``-c`` takes a file with that command's own options.

    Raises:
        ConfigurationError: ``-c`` has the name of a run that comes with the program.
    """
    for index, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option not in ("-c", "--config"):
            continue
        value = value if equals else "".join(args[index + 1 : index + 2])
        names = {wanted for name in config_names() for wanted in (name, name.partition("/")[2])}
        if value in names and not Path(value).is_file():
            raise ConfigurationError(
                f"{option} {value}: this configuration is for training and quantization; `{command}` uses none of "
                f"its settings. Leave out {option} {value}."
            )


def _file(option: str, value: str) -> str:
    """Return the path of the file that a value names, or any other value unchanged."""
    if not _NAME.fullmatch(value) or Path(value).is_file():
        return value
    names = config_names()
    # Names are also accepted as paths in a checkout: configs/experiment/quickstart.yaml.
    wanted = value.removesuffix(".yaml").removeprefix("configs/")
    groups = _GROUPS[option]
    if wanted in _RENAMED and "quantization" in groups:
        log.warning("%s: this configuration is now called %s; use that name.", value, _RENAMED[wanted])
        wanted = _RENAMED[wanted]
    matching = [name for name in names if name == wanted or name in {f"{group}/{wanted}" for group in groups}]
    if len(matching) == 1:
        return str(names[matching[0]])
    if option not in ("-c", "--config"):
        return value  # The parser reports what is wrong with it.
    if matching:
        raise ConfigurationError(
            f"{value}: is ambiguous: it could be {' or '.join(matching)}. Give one of these names."
        )
    short = {name.partition("/")[2]: name for name in names if name.partition("/")[0] in groups}
    close = difflib.get_close_matches(wanted, [*names, *short], n=1)
    hint = f" Did you mean {short.get(close[0], close[0])}?" if close else ""
    raise ConfigurationError(
        f"{value}: this is neither a file nor the name of an included configuration.{hint} `{program_name()} configs "
        "list` lists their names."
    )
