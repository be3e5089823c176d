"""Search space of a sweep: which settings vary, and over which values."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from dlrm_pl.documents.fields import shown
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.sweep.entries import FIELDS, Accepts, Choices, Entry, Range, frozen, plain_values, read_entry
from dlrm_pl.sweep.spelling import did_you_mean

DIM, BOTTOM, OPTIMIZER = "model.embedding_dim", "model.bottom_mlp", "model.dense_optimizer"

_COUNTED = 10_000
"""Maximum number of combinations that are counted one by one, if some settings depend on others."""

_NOT_SEARCHED = {
    "seed_everything": "all trials have the same seed, so that they can be compared",
    "data.seed": "all trials see the same rows in the same order, so that they can be compared",
    "data.folder": "all trials are scored on the same rows",
    "trainer.max_epochs": "all trials train on the same number of rows: give --rows_per_trial",
    "trainer.min_epochs": "all trials train on the same number of rows: give --rows_per_trial",
    "trainer.max_steps": "all trials train on the same number of rows: give --max_steps or --rows_per_trial",
    "trainer.min_steps": "all trials train on the same number of rows: give --rows_per_trial",
    "trainer.max_time": "all trials train on the same number of rows: give --rows_per_trial",
    "trainer.limit_train_batches": "all trials train on the same number of rows: give --rows_per_trial",
    "trainer.limit_val_batches": "all trials are scored on the same rows",
    "trainer.val_check_interval": "all trials are scored after the same shares of their rows: give --validations",
    "trainer.check_val_every_n_epoch": "all trials are scored after the same shares of their rows: give --validations",
    "trainer.devices": "a trial runs in one process",
    "trainer.num_nodes": "a trial runs in one process",
    "trainer.strategy": "a trial runs in one process",
    "trainer.callbacks": "a sweep chooses among plain values",
    "trainer.logger": "trials write no logs",
}
"""Settings that cannot vary, with the reason."""


Conditions = Mapping[str, Mapping[str, tuple[Any, ...]]]


@dataclass(frozen=True)
class Space:
    """The settings that a sweep varies.

    Attributes:
        entries: values of the settings, by their dotted names, in order.
        conditions: by the name of a setting, the values that settings before it must have for it to vary; if they do
            not, a trial leaves the setting as configured.
    """

    entries: Mapping[str, Entry]
    conditions: Conditions = field(default_factory=dict)

    def statement(self) -> dict[str, Any]:
        """Return the space as a file states it."""
        stated = {}
        for name, entry in self.entries.items():
            when = self.conditions.get(name, {})
            conditions = {other: plain_values(values) for other, values in when.items()}
            stated[name] = entry.statement() | ({"when": conditions} if conditions else {})
        return stated

    def varies(self, name: str, values: Mapping[str, Any]) -> bool:
        """Return whether a setting varies, given the values of the settings that it depends on."""
        return all(
            other in values and frozen(values[other]) in allowed
            for other, allowed in self.conditions.get(name, {}).items()
        )

    def varying(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those settings that vary, out of values for all of them."""
        found: dict[str, Any] = {}
        for name in self.entries:
            if self.varies(name, found):
                found[name] = values[name]
        return found

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Return whether values are those of a trial: one for each setting that varies, and no others."""
        return all(
            (name in values) == self.varies(name, values) and (name not in values or entry.contains(values[name]))
            for name, entry in self.entries.items()
        )

    def size(self) -> int | None:
        """Return the number of combinations, or an upper bound; None if a range has infinitely many numbers."""
        counts = [entry.count() for entry in self.entries.values()]
        if None in counts:
            return None
        most = math.prod(count for count in counts if count is not None)
        return sum(1 for _ in self.grid()) if self.conditions and most <= _COUNTED else most

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield every combination; the last setting varies fastest.

        Raises:
            ConfigurationError: a range has neither a step nor whole numbers.
        """
        options = []
        for name, entry in self.entries.items():
            values = entry.values()
            if values is None:
                raise ConfigurationError(
                    f"space: {name} is a range of numbers without a step, which a grid cannot enumerate. Give it "
                    "choices or a step, or use --sampler tpe or random."
                )
            options.append(values)
        yield from self._combinations(options)

    def extremes(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of choices and range ends."""
        yield from self._combinations(
            [[entry.low, entry.high] if isinstance(entry, Range) else entry.values() for entry in self.entries.values()]
        )

    def _combinations(self, options: Sequence[Sequence[Any]]) -> Iterator[dict[str, Any]]:
        before: set[tuple[Any, ...]] = set()
        for combination in product(*options):
            values = self.varying(dict(zip(self.entries, combination, strict=True)))
            key = tuple((name, frozen(value)) for name, value in values.items())
            if not self.conditions or key not in before:
                before.add(key)
                yield values


def read_space(stated: Mapping[str, Any], known: Collection[str], accepts: Accepts) -> Space:
    """Check the statement of a space, and return the space.

    Args:
        stated: entries by dotted names, or nested by the parts of the names.
        known: dotted names of all settings.
        accepts: tells whether a setting can have a value.

    Raises:
        ConfigurationError: a setting is unknown or cannot vary, or an entry makes no sense; the message names it.
    """
    if not isinstance(stated, Mapping) or not stated:
        raise ConfigurationError(
            "space: states nothing to vary. Name settings, as in {model.learning_rate: {low: 0.001, high: 1, log: "
            "true}}, or leave it out to use the default space."
        )
    entries: dict[str, Entry] = {}
    conditions: dict[str, Mapping[str, tuple[Any, ...]]] = {}
    for name, entry in _flat(stated):
        if reason := _NOT_SEARCHED.get(name):
            raise ConfigurationError(f"space: {name} cannot vary: {reason}.")
        if name not in known:
            others = [other for other in known if other not in _NOT_SEARCHED]
            close = did_you_mean(name, others) if "." in name else did_you_mean(f"model.{name}", others)
            raise ConfigurationError(f"space: there is no setting {name}{close}")
        if name in entries:
            raise ConfigurationError(f"space: {name} is given twice. Leave one of them out.")
        when, entry = _without_condition(name, entry, entries)
        entries[name] = read_entry(name, entry, accepts)
        if when:
            conditions[name] = when
    return Space(_with_one_last_width(entries), conditions)


def fitting_widths(values: Mapping[str, Any], bottom_mlp: list[int]) -> dict[str, Any]:
    """Make the bottom MLP of a trial end in the trial's embedding dimension, as a model requires.

    Args:
        values: settings of the trial.
        bottom_mlp: widths in the configuration.

    Returns:
        The settings, with ``model.bottom_mlp`` added if the dimension varies.
    """
    if DIM not in values:
        return dict(values)
    widths = list(values.get(BOTTOM, bottom_mlp))
    return {**values, BOTTOM: [*widths[:-1], values[DIM]]}


def _without_condition(name: str, stated: Any, above: Mapping[str, Entry]) -> tuple[dict[str, tuple[Any, ...]], Any]:
    """Split off the condition of an entry, as {when: {model.dense_optimizer: [adam]}}."""
    if not isinstance(stated, Mapping) or "when" not in stated:
        return {}, stated
    when, where = stated["when"], f"space: {name}: when"
    if not isinstance(when, Mapping) or not when:
        raise ConfigurationError(
            f"{where}={shown(when)} must name settings that come before it, as in {{{OPTIMIZER}: [adam]}}."
        )
    found = {}
    for other, values in _flat_values(when):
        entry = above.get(other)
        if not isinstance(entry, Choices):
            raise ConfigurationError(
                f"{where}: {other} is not a setting with choices that comes before {name} in the "
                f"space{did_you_mean(other, above)}"
            )
        allowed = values if isinstance(values, list | tuple) else [values]
        for value in allowed:
            if not entry.contains(value):
                raise ConfigurationError(
                    f"{where}: {other} is never {shown(value)}; its choices are {shown(entry.values())}."
                )
        found[other] = tuple(frozen(value) for value in allowed)
    return found, {field: value for field, value in stated.items() if field != "when"}


def _flat_values(stated: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in stated.items():
        if isinstance(value, Mapping):
            yield from _flat_values(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def _with_one_last_width(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Refuse two bottom MLPs that differ only in their last width, which the embedding dimension determines."""
    bottom = entries.get(BOTTOM)
    if DIM in entries and isinstance(bottom, Choices):
        inner = [tuple(option or ())[:-1] for option in bottom.options]
        if len(set(inner)) < len(inner):
            raise ConfigurationError(
                f"space: two choices of {BOTTOM} differ only in their last width, which {DIM} replaces. Leave one of "
                "them out."
            )
    return entries


def _flat(stated: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in stated.items():
        name = f"{within}{key}"
        if isinstance(value, Mapping) and value and not set(value) & {*FIELDS, "when"} and _holds_names(value):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _holds_names(value: Mapping[str, Any]) -> bool:
    """Whether a mapping contains mappings, as {model: {learning_rate: {low: 0}}}, and is not an entry itself."""
    return all(isinstance(inner, Mapping) for inner in value.values())
