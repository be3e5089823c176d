"""The generated part of docs/configuration.md: every key of a YAML file, from the sources of the command line's help.

Run ``python -m docs.mkdocs.configuration_page`` to update the page after changing a setting or its docstring.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import os
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

import dlrm_pl
from dlrm_pl.cli.help.trainer_help import TRAINER_TEXTS
from dlrm_pl.distributed.strategy import ShardedStrategy
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings

PAGE = Path(__file__).parents[1] / "configuration.md"
MARKER = "<!-- Below this line the page is written by `python -m docs.mkdocs.configuration_page`. -->\n"


@dataclass(frozen=True)
class Section:
    """A table of keys.

    Attributes:
        title: heading.
        made: class whose arguments are the keys.
        prefix: prefix of the keys in command line options; empty for keys without one.
        text: paragraph above the table.
        keys: keys to list; None: all of the class itself, without those of the Lightning class that it extends.
        left_out: keys that cannot be set in YAML.
    """

    title: str
    made: Any
    prefix: str
    text: str
    keys: frozenset[str] | None = None
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Key:
    """A key of a YAML file."""

    name: str
    type: str
    default: str
    text: str


_OPTIMIZERS = frozenset(field.name for field in dataclasses.fields(OptimizerSettings))
_SCHEDULE = frozenset(name for name in inspect.signature(dlrm_pl.DLRMModule).parameters if name.startswith("lr_"))
_FROM_DATA = frozenset(("table_sizes", "dataset_fingerprint", "columns"))
_CALLBACK = "Under `trainer.callbacks`: `{{class_path: dlrm_pl.{0}, init_args: {{...}}}}`."

SECTIONS = (
    Section("Data", dlrm_pl.DLRMDataModule, "data", "Under `data`. Which dataset is read, and how."),
    Section(
        "Model",
        dlrm_pl.DLRMModule,
        "model",
        "Under `model`. Do not set `table_sizes`, `dataset_fingerprint` and `columns`: they come from the dataset.",
        left_out=_OPTIMIZERS | _SCHEDULE | _FROM_DATA,
    ),
    Section(
        "Optimizers and learning rates",
        dlrm_pl.DLRMModule,
        "model",
        "Also under `model`.",
        keys=_OPTIMIZERS | _SCHEDULE,
    ),
    Section(
        "Trainer",
        dlrm_pl.DLRMTrainer,
        "trainer",
        "Under `trainer`. The keys that `DLRMTrainer` adds, and the most common ones of Lightning's Trainer. "
        "`dlrm-pl fit --help_all` lists the others.",
        keys=frozenset(("async_checkpoints", "use_distributed_sampler", *TRAINER_TEXTS)),
    ),
    Section(
        "QuantizationCallback",
        dlrm_pl.QuantizationCallback,
        "",
        _CALLBACK.format("QuantizationCallback") + " `quantize` reads the same settings.",
        left_out=frozenset(("until",)),
    ),
    Section("WorstSlice", dlrm_pl.WorstSlice, "", "The value of `criterion.worst_slice` of `QuantizationCallback`."),
    Section(
        "Objective", dlrm_pl.Objective, "", "The value of `objective` of `QuantizationCallback`, if it is a mapping."
    ),
    Section(
        "QuantizationAwareTraining",
        dlrm_pl.QuantizationAwareTraining,
        "",
        _CALLBACK.format("QuantizationAwareTraining"),
    ),
    Section("MLPerfLogging", dlrm_pl.MLPerfLogging, "", _CALLBACK.format("MLPerfLogging")),
    Section("ThroughputMonitor", dlrm_pl.ThroughputMonitor, "", _CALLBACK.format("ThroughputMonitor")),
    Section(
        "ShardedStrategy",
        ShardedStrategy,
        "",
        "Under `trainer.strategy`: `{class_path: dlrm_pl.distributed.strategy.ShardedStrategy, init_args: {...}}`. It "
        "also has the settings of Lightning's `DDPStrategy`.",
    ),
    Section(
        "Dense columns",
        dlrm_pl.DenseColumn,
        "",
        "In the `--columns` file, a list under `dense` ([Columns](columns.md)).",
    ),
    Section("Sparse columns", dlrm_pl.SparseColumn, "", "In the `--columns` file, a list under `sparse`."),
)


def keys_of(section: Section) -> list[Key]:
    """Return the keys of a section in the order of the class's arguments."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(section.made, "at", fail_untyped=False)
    own = {name for name in inspect.signature(section.made).parameters if name != "kwargs"}
    found = []
    for action in parser._actions:
        name = action.dest.removeprefix("at.")
        top = name.partition(".")[0]
        kept = top in (own if section.keys is None else section.keys) and top not in section.left_out
        if "." not in action.dest or not kept or name.endswith(".help") or type(action).__name__ == "ActionParser":
            continue
        hint = getattr(action, "_typehint", action.type)
        if hint is None:
            continue  # A group of keys, which are listed themselves.
        text = TRAINER_TEXTS.get(name, action.help or "") if section.prefix == "trainer" else action.help or ""
        default = "required" if action.required else f"`{_plain(action.default)}`"
        found.append(Key(name, type_name(hint), default, _in_words_of_yaml(text)))
    return found


def _in_words_of_yaml(text: str) -> str:
    """Return a description on one line, in YAML's terms instead of Python's."""
    text = " ".join(text.split()).replace("``", "`").rstrip(".")
    return re.sub(r"\bNone\b", "null", text)


def type_name(hint: Any) -> str:
    """Return the type of a value in YAML's terms."""
    origin, arguments = get_origin(hint), get_args(hint)
    plain = {int: "integer", float: "number", str: "text", bool: "true or false", types.NoneType: "null", object: "any"}
    if hint in plain:
        return plain[hint]
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (Union, types.UnionType):
        names = {type_name(one) for one in arguments if not _is_path_beside_text(one, arguments)}
        # typing keeps the order of whichever equal union was made first, so the order may differ from the source.
        return " or ".join(sorted(names, key=lambda name: (name == "null", name)))
    if origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable) and arguments:
        item = type_name(arguments[0])
        return f"list of {item}s" if item in plain.values() else f"list of {item}"
    if origin is dict:
        return f"mapping to {type_name(arguments[1])}"
    if hint is os.PathLike or origin is os.PathLike or hint is Path:
        return "path"
    return "class path" if origin is collections.abc.Callable else f"{getattr(hint, '__name__', 'any')}"


def _is_path_beside_text(one: Any, all_of_them: tuple[Any, ...]) -> bool:
    """Tell whether a type is the ``str`` of ``str | PathLike``, which is described as a path only."""
    paths = any(get_origin(other) is os.PathLike or other is os.PathLike or other is Path for other in all_of_them)
    return one is str and paths


def _plain(value: Any) -> str:
    """Return a default as it is written in YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "{}"
    return json.dumps(value, default=str)


def generated(sections: Iterable[Section] = SECTIONS) -> str:
    """Return the tables of all sections."""
    return "\n".join(line for section in sections for line in _table(section))


def _table(section: Section) -> Iterator[str]:
    yield from (f"## {section.title}", "", section.text, "", "| key | value | default | meaning |", "|---|---|---|---|")
    for key in keys_of(section):
        name = f"{section.prefix}.{key.name}" if section.prefix else key.name
        cells = (f"`{name}`", key.type, key.default, key.text)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


if __name__ == "__main__":
    kept = PAGE.read_text().partition(MARKER)[0]
    PAGE.write_text(f"{kept}{MARKER}\n{generated().rstrip()}\n")
