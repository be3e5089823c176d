"""The command `sweep`, which reads its own options and those of `fit`, and trains with many variants of the latter."""

from __future__ import annotations

import logging
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import LightningArgumentParser

from dlrm_pl.cli.arguments.sweep_options import OPTIONS, SweepOptions
from dlrm_pl.cli.arguments.usage import let_flags_stand_alone, own_errors, usage_errors
from dlrm_pl.cli.help.layout import HELP, add_common_options
from dlrm_pl.cli.help.trainer_help import arrange_trainer_help
from dlrm_pl.cli.output import Report
from dlrm_pl.cli.trainer.fit_command import fit_command
from dlrm_pl.cli.trainer.lightning_cli import DLRMCLI
from dlrm_pl.cli.trainer.sweep_trials import TrialTrainer, trial_config
from dlrm_pl.documents.yaml_text import parse_yaml
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.sweep.default_space import default_space
from dlrm_pl.sweep.folder import BEST
from dlrm_pl.sweep.run import Sweep, run_sweep
from dlrm_pl.sweep.settings import SweepSettings
from dlrm_pl.sweep.space import Space, read_space
from dlrm_pl.sweep.study import require_optuna

log = logging.getLogger(__name__)

NAME, _SEED = "sweep", "seed_everything"


class SweepCLI(DLRMCLI):
    """LightningCLI whose only command is `sweep`, which makes a new model, data module and Trainer for each trial."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the only command."""
        return {NAME: set()}

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        made = self.init_parser(**kwargs)
        self._add_arguments(made)
        own = made.add_class_arguments(SweepOptions, as_group=False)
        let_flags_stand_alone(made)
        if HELP & set(sys.argv) and "--help_all" not in sys.argv:
            arrange_trainer_help(made, NAME, own, ())
        elif "--help_all" in sys.argv:
            add_common_options(made)
        self._subcommand_parsers = {NAME: made}
        self._subcommand_method_arguments = {NAME: own}
        parser.add_subcommands().add_subcommand(NAME, made)

    def _parse_ckpt_path(self) -> None:
        """Refuse a checkpoint, because trials train from the beginning.

        Raises:
            ConfigurationError: a checkpoint is given.
        """
        if path := self.config.sweep.ckpt_path:
            raise ConfigurationError(f"--ckpt_path {path}: trials always train from the beginning. Leave it out.")

    def _set_seed(self) -> None:
        """Do nothing: each trial sets its own seed."""

    def before_instantiate_classes(self) -> None:
        """Do nothing: nothing is made for the command itself."""

    def instantiate_classes(self) -> None:
        """Do nothing: nothing is made for the command itself."""

    def _run_subcommand(self, subcommand: str) -> None:
        require_optuna()
        config = self.config.sweep
        settings = SweepSettings(**{field.name: config[field.name] for field in fields(SweepSettings)})
        base = trial_config(config)
        space = self._space(base)
        if settings.sampler == "grid":
            next(space.grid())
        with own_errors(MisconfigurationException):
            trainer = TrialTrainer(base, self._made, self._changed, space, settings.validations)
        trainer.choose_rows(config.rows_per_trial, config.max_steps)
        given = space.varying({name: _plain(config[name]) for name in space.entries})
        sweep = Sweep(
            folder=Path(config.output),
            space=space,
            settings=settings,
            given=given,
            seed=trainer.seed,
            identity={"configuration": self._stated(base)} | trainer.identity,
            overwrite=config.overwrite,
            command=fit_command(sys.argv[2:], Path(config.output) / BEST),
        )
        outcome = run_sweep(sweep, trainer.train, trainer.complete_values, trainer.announce)
        self.report = Report(outcome.data, outcome.show, outcome.error)

    def _space(self, base: Namespace) -> Space:
        """Check the space that is given, or state the usual one.

        Args:
            base: configuration of a trial. Each value is parsed together with it, which would take twice as long with
                the callbacks of `fit`.
        """
        config = self.config.sweep
        stated = default_space(_plain(config.model)) if config.space is None else config.space
        names = [action.dest for action in self._subcommand_parsers[NAME]._actions if action.dest in config]
        known = [name for name in names if name.startswith(("model.", "data.", "trainer.")) or name == _SEED]
        return read_space(stated, known, partial(self._refusal, base))

    def _refusal(self, base: Namespace, name: str, value: Any) -> str:
        """Say why a setting cannot have a value; empty if it can."""
        try:
            self._changed(base, {name: value})
        except ConfigurationError as error:
            return str(error).split(" `")[0]
        return ""

    def _changed(self, config: Namespace, values: dict[str, Any]) -> Namespace:
        """Return a configuration with other values of settings.

        Raises:
            ConfigurationError: a setting cannot have the given value.
        """
        changed = config.clone()
        nested: dict[str, Any] = {}
        for name, value in values.items():
            group, _, last = name.partition(".")
            nested.setdefault(group, {})[last] = value
        with usage_errors(NAME, self._subcommand_parsers[NAME]):
            parsed = self.parser.parse_object({NAME: nested}, _of_command(changed))
        made: Namespace = parsed.sweep
        return made

    def _made(self, config: Namespace) -> Namespace:
        """Make the model, the data and the Trainer's arguments of a configuration."""
        made = self.parser.instantiate_classes(_of_command(config))
        return made.sweep  # type: ignore[no-any-return]

    def _stated(self, config: Namespace) -> dict[str, Any]:
        """Return the parts of a configuration that a trial's scores depend on, as plain values."""
        text = self.parser.dump(_of_command(config), skip_none=False, skip_validation=True, format="yaml")
        stated: dict[str, Any] = parse_yaml(text)[NAME]
        for name in (*OPTIONS, "config", _SEED):
            stated.pop(name, None)
        for name in ("folder", "num_workers", "calibration_rows"):
            stated["data"].pop(name, None)
        stated["data"] = {name: value for name, value in stated["data"].items() if not name.startswith("predict_")}
        return stated


def _of_command(config: Namespace) -> Namespace:
    """Return the program's configuration for a configuration of the command."""
    return Namespace(subcommand=NAME, sweep=config)  # type: ignore[no-untyped-call]


def _plain(value: Any) -> Any:
    """Return a parsed value in plain types, sequences as lists."""
    if isinstance(value, Namespace):
        return {name: _plain(inner) for name, inner in vars(value).items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
