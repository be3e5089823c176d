"""Render a plan as YAML, commands and notes."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from dlrm_pl.migration.flags.plan import Command, Plan, Setting
from dlrm_pl.migration.flags.table import PROGRAMS
from dlrm_pl.program import program_name

_WIDTH = 120
_COMMENT_COLUMN = 44
_SAFE = re.compile(r"[\w@%+=:,./${}-]+")


def render_yaml(plan: Plan) -> str:
    """Return the YAML with the command at the top, and each value with the flag that it comes from."""
    main = next(command for command in plan.commands if command.words[0] not in ("preprocess", "import-checkpoint"))
    head = [f"# {render_command(plan, main)}", f"# From a command line of {PROGRAMS[plan.values.program]}."]
    body = [_with_comment(line, comment) for line, comment in _lines(plan.settings, "")]
    return "\n".join([*head, *body]) + "\n"


def _lines(node: Any, indent: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a node with their comments."""
    for key, value in node.items():
        if isinstance(value, Setting):
            yield f"{indent}{key}: {_scalar(value.value)}", value.comment
        elif isinstance(value, list):
            yield f"{indent}{key}:", ""
            for item in value:
                first, *rest = _lines(item, indent + "    ")
                yield f"{indent}  - {first[0].lstrip()}", first[1]
                yield from rest
        else:
            yield f"{indent}{key}:", ""
            yield from _lines(value, indent + "  ")


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _with_comment(line: str, comment: str) -> str:
    if not comment:
        return line
    return f"{line.ljust(_COMMENT_COLUMN)}  # {comment}"


def render_commands(plan: Plan) -> str:
    """Return one command per line, each after its comment, for a shell."""
    lines = []
    for command in plan.commands:
        if command.comment:
            lines += textwrap.wrap(command.comment, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines.append(render_command(plan, command))
    return "\n".join(lines) + "\n"


def commands_of(plan: Plan) -> list[str]:
    """Return the commands for a shell, one string each."""
    return [render_command(plan, command) for command in plan.commands]


def render_command(plan: Plan, command: Command) -> str:
    """Return one command for a shell; variables stay variables."""
    assigned = [f"{name}={_quoted(value)}" for name, value in plan.environment.items()]
    return " ".join([*assigned, program_name(), *map(_quoted, command.words)])


def _quoted(word: str) -> str:
    if _SAFE.fullmatch(word):
        return word
    if "$" in word:
        return '"' + re.sub(r'(["\\`])', r"\\\1", word) + '"'
    return shlex.quote(word)


def render_notes(plan: Plan) -> str:
    """Return what no value expresses, one paragraph per flag; empty if there is nothing to say."""
    lines: list[str] = []
    for flag, text in plan.notes:
        lines += textwrap.wrap(f"{flag}: {text}.", _WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(["", "What the YAML does not say:", *lines]) + "\n" if lines else ""
