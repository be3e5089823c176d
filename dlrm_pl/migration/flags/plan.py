"""Parts of a translation: settings with the flags they come from, commands, notes and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlrm_pl.migration.flags.parse import Values


@dataclass(frozen=True)
class Setting:
    """A value in the YAML, and the reason for it."""

    value: Any
    comment: str = ""


# Mappings and lists of settings, nested like the YAML.
Tree = dict[str, Any]


@dataclass(frozen=True)
class Command:
    """One command to run.

    Attributes:
        words: words after the program's name.
        comment: the reason for the command, for the line before it.
    """

    words: tuple[str, ...]
    comment: str = ""


@dataclass
class Plan:
    """A translation in progress.

    Attributes:
        values: contents of the command line.
        config: file name of the YAML, for the commands.
        processes: number of processes that a launcher starts on each machine; None without a launcher.
        machines: number of machines.
        environment: variable assignments to put before the commands.
        settings: contents of the YAML.
        commands: commands to run, in order.
        notes: pairs of a flag and a note on what no value in the YAML expresses.
        refusals: pairs of a flag and the reason for refusing it; with any refusal, there is no translation.
    """

    values: Values
    config: str
    processes: int | None = None
    machines: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    settings: Tree = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def set(self, path: str, value: Any, *flags: str, why: str = "") -> None:
        """Set ``model.embedding_dim`` or the like to what these flags say."""
        *parents, last = path.split(".")
        node = self.settings
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = self.setting(value, *flags, why=why)

    def setting(self, value: Any, *flags: str, why: str = "") -> Setting:
        """Return a value with its comment: the flags (marked if at their defaults) and a reason."""
        named = ", ".join(name if name in self.values.given else f"{name} (default)" for name in flags)
        return Setting(value, "; ".join(part for part in (named, why) if part))

    def callback(self, class_path: str, arguments: Mapping[str, Any] | None = None, comment: str = "") -> None:
        """Append a Trainer callback."""
        callbacks = self.settings.setdefault("trainer", {}).setdefault("callbacks", [])
        init_args = {"init_args": dict(arguments)} if arguments else {}
        callbacks.append({"class_path": Setting(class_path, comment), **init_args})

    def run(self, *words: str, comment: str = "") -> None:
        """Append a command."""
        self.commands.append(Command(words, comment))

    def note(self, flag: str, text: str) -> None:
        """Note something that no value expresses."""
        self.notes.append((self._shown(flag), text))

    def refuse(self, flag: str, reason: str) -> None:
        """Note why a translation is impossible, and what to use instead."""
        self.refusals.append((self._shown(flag), reason))

    def _shown(self, flag: str) -> str:
        if flag not in self.values.by_name:
            return flag
        return self.values.shown(flag) + ("" if flag in self.values.given else " (the default)")
