"""Print a shell script that completes the program's commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from dlrm_pl.cli.output import Report

_CONFIGS = """
_dlrm_pl_configs() {{
  compgen -W "{names}" -- "$1"
  compgen -f -- "$1"
}}
"""


def completion(shell: Literal["bash", "zsh"]) -> Report:
    """Print a script for tab completion of commands, options, choices, configuration names and files.

    For bash: `dlrm-pl completion bash > ~/.local/share/bash-completion/completions/dlrm-pl`; for zsh, write it to a
    file `_dlrm-pl` in a folder of `$fpath`. The script does not start Python to complete. Needs shtab: `pip install
    "dlrm-pl[completion]"`.

    Args:
        shell: bash or zsh.
    """
    from dlrm_pl.extras import missing_extra

    try:
        import shtab
    except ImportError as error:
        raise missing_extra("completion needs shtab", "completion", error) from None

    from dlrm_pl.cli.arguments.config_files import config_names

    program = argparse.ArgumentParser(prog="dlrm-pl", allow_abbrev=False)
    commands = program.add_subparsers()
    for name, summary, actions in _commands():
        parser = commands.add_parser(name, help=summary, allow_abbrev=False)
        for action in actions:
            _add(parser, action, shtab.FILE)
    names = " ".join([name for path in config_names() for name in (path, path.partition("/")[2])])
    preamble = _CONFIGS.format(names=names) if shell == "bash" else ""
    script = shtab.complete(program, shell=shell, preamble=preamble)
    return Report({"shell": shell, "script": script}, script)


def _commands() -> Iterable[tuple[str, str, list[Any]]]:
    """Yield name, summary and options of each command."""
    from dlrm_pl.cli.arguments.trainer_options import options_of
    from dlrm_pl.cli.command_table import LIGHT, TRAINER
    from dlrm_pl.cli.light import parser_of

    for name, function in {**LIGHT, "completion": completion}.items():
        parser, _ = parser_of(name, function, skip=("command",) if name == "from-dlrm-flags" else ())
        yield name, (function.__doc__ or "").splitlines()[0], list(parser._actions)
    for name, summary in TRAINER.items():
        yield name, summary, options_of(name)


def _add(parser: argparse.ArgumentParser, action: Any, file: Any) -> None:
    """Add one of our options to a plain parser, with the completion of its value."""
    from dlrm_pl.cli.help.layout import value_word

    options = [option for option in action.option_strings if option.startswith("-") and not option.endswith("+")]
    if (action.option_strings and not options) or set(options) & set(parser._option_string_actions):
        return
    kind = getattr(action, "_typehint", None)
    literals = [kind, *get_args(kind)]
    choices = [str(value) for one in literals if get_origin(one) is Literal for value in get_args(one)]
    settings: dict[str, Any] = {"choices": choices} if choices else {}
    flag = action.nargs in (0, "?")
    added: Any = parser.add_argument(*(options or [action.dest]), **({"action": "store_true"} if flag else settings))
    if "-c" in options:
        added.complete = {"bash": "_dlrm_pl_configs", "zsh": "_files"}
    elif not flag and value_word(action) == "PATH":
        added.complete = file
