"""Commands that are methods of DLRMTrainer, by LightningCLI; separate from cli.py because its import takes seconds."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from dlrm_pl.callbacks.interrupt import InterruptCheckpoint
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.callbacks.training_curves import add_training_curves
from dlrm_pl.cli.arguments.usage import let_flags_stand_alone, own_errors, usage_errors, with_home
from dlrm_pl.cli.help.layout import HELP, ShortHelpFormatter, add_common_options
from dlrm_pl.cli.help.trainer_help import arrange_trainer_help
from dlrm_pl.cli.trainer.fit_plan import OPTIONS as PLAN_OPTIONS
from dlrm_pl.cli.trainer.fit_plan import add_plan_options, check_plan_options, plan_report
from dlrm_pl.cli.trainer.reporting_cli import ReportingCLI
from dlrm_pl.columns.columns import Columns
from dlrm_pl.distributed.checkpoints.newest import newest_checkpoint, run_id, was_restarted
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.checkpoints.contract import overruled
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import load_checkpoint
from dlrm_pl.model.training.weight_init import skip_weight_init, weights_on_shards
from dlrm_pl.program import is_quiet
from dlrm_pl.serving.output import check_predictions_path, output_path
from dlrm_pl.trainer import DLRMTrainer

log = logging.getLogger(__name__)

# Properties of the dataset that the model is built for; they come from the data, not from files or flags.
_LINKS = {
    "table_sizes": "model.table_sizes",
    "dataset_fingerprint": "model.dataset_fingerprint",
    "columns": "model.columns",
}


RUNS = "runs"
"""Folder that `fit` writes to when no ``trainer.default_root_dir`` is given."""


class DLRMCLI(ReportingCLI):
    """LightningCLI with ``quantize``, links from data to model, and our checkpoints."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return only the command that was given: making a parser for each takes three times as long."""
        every = LightningCLI.subcommands() | {"quantize": {"model", "datamodule"}}
        return {sys.argv[1]: every[sys.argv[1]]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link arguments so that properties of the dataset are passed to the model automatically."""
        for source, target in _LINKS.items():
            plain = Columns.statement if source == "columns" else None  # Hyperparameters are plain values.
            parser.link_arguments(f"data.{source}", target, plain, apply_on="instantiate")

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that raises its errors, see ``usage_errors``, and reads options only by their full names."""
        kwargs = {"exit_on_error": False, "allow_abbrev": False} | kwargs
        if "--help_all" not in sys.argv:
            kwargs["formatter_class"] = ShortHelpFormatter
        parser = super().init_parser(**kwargs)
        parser.add_argument("--help_all", action="help", help="show all options, and exit")
        return parser

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        own = self._subcommand_method_arguments[subcommand]
        if subcommand == "fit":
            add_plan_options(parser)
            own = [*own, *PLAN_OPTIONS]
        let_flags_stand_alone(parser)
        if HELP & set(sys.argv) and "--help_all" not in sys.argv:
            settings = [name for name in inspect.signature(QuantizationCallback).parameters if name != "self"]
            arrange_trainer_help(parser, subcommand, own, settings)
        elif "--help_all" in sys.argv:
            add_common_options(parser)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments, with one message if they are refused."""
        with usage_errors(sys.argv[1], self._subcommand_parsers[sys.argv[1]]):
            super().parse_arguments(parser, args)
        self.config = with_home(self.config)

    def _parse_ckpt_path(self) -> None:
        """Let the checkpoint's hyperparameters win, as Lightning does, but without reading 100 GB of tables."""
        subcommand = self.config.subcommand
        if subcommand == "fit" and "TORCHELASTIC_RUN_ID" in os.environ:
            self._go_on_from_newest()
        path = self.config[subcommand].get("ckpt_path")
        if path is None or path in ("best", "last", "hpc", "registry"):
            return  # The Trainer finds the file for this keyword.
        saved = dict(open_checkpoint(Path(path)).get("hyper_parameters", {}))
        linked = {target.split(".")[1] for target in _LINKS.values()}
        model = {name: value for name, value in saved.items() if name not in linked and not name.startswith("_")}
        if model.get("bottom_mlp"):
            # 0 takes the number of dense columns from the dataset: if its columns are not those of the checkpoint, the
            # error then names the differing columns.
            model["bottom_mlp"] = [0, *model["bottom_mlp"][1:]]
        given = self.parser.parse_args(sys.argv[1:], defaults=False)[subcommand].get("model") or {}
        if subcommand == "fit":
            # Settings that were given are kept, and the module compares them with the checkpoint.
            model = {name: value for name, value in model.items() if name not in given}
        elif difference := overruled(model, dict(given)):
            log.warning("%s: %s", path, difference)
        with usage_errors(subcommand, self._subcommand_parsers[subcommand]):
            self.config = self.parser.parse_object({subcommand: {"model": model}}, self.config)

    def _go_on_from_newest(self) -> None:
        """After torchrun has restarted all processes, continue from the newest checkpoint that they had saved."""
        trainer = self.config.fit.trainer
        folders = [
            Path(one.init_args.get("dirpath") or Path(trainer.default_root_dir or RUNS) / "checkpoints")
            for one in trainer.callbacks or ()
            if one.class_path.endswith(".ModelCheckpoint")
        ]
        if not was_restarted(folders):
            return
        newest = newest_checkpoint(folders, run_id())
        if newest is not None:
            self.config.fit.ckpt_path = str(newest)
        log.warning("restarted by torchrun: continuing from %s", newest or "the beginning, as no checkpoint was saved")

    def instantiate_classes(self) -> None:
        """Make the model without weights if a checkpoint has them: drawing 100 GB of random numbers would be wasted."""
        if self.plans_only:
            self.report = plan_report(self.config.fit)
            return
        path = self.config[self.subcommand].get("ckpt_path")
        if path is None or path == "registry":
            sharded = is_sharded(self.config[self.subcommand].trainer.strategy)
            with weights_on_shards() if sharded else nullcontext(), own_errors(MisconfigurationException):
                super().instantiate_classes()
            return
        with skip_weight_init(), own_errors(MisconfigurationException):
            super().instantiate_classes()
        if self.config[self.subcommand].get("force"):
            assert isinstance(self.trainer, DLRMTrainer)
            # The model keeps the checkpoint's table sizes, not those of the dataset.
            self.model = load_checkpoint(Path(self.trainer.checkpoint_file(path)))

    @property
    def plans_only(self) -> bool:
        """Whether only the plan of a training run is requested."""
        return self.subcommand == "fit" and bool(self.config.fit.plan_only)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command, unless only its plan was requested, which has been made already."""
        if not self.plans_only:
            super()._run_subcommand(subcommand)

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before anything is built, and leave no files in the current folder."""
        if self.subcommand == "fit":
            check_plan_options(self.config.fit)
        self._keep_folder_clean()
        if is_quiet():
            _silence(self.config[self.subcommand].trainer)
        if self.subcommand != "fit" and not self.config[self.subcommand].get("ckpt_path"):
            raise ConfigurationError(
                f"{self.subcommand} needs a trained model. Give --ckpt_path FILE.ckpt, a checkpoint that `fit` wrote."
            )
        if self.subcommand == "predict":
            output = self.config.predict.get("output")
            if output is None:
                raise ConfigurationError(
                    "predict needs an output file for the probabilities. Give --output FILE.csv, FILE.npy or "
                    "FILE.parquet."
                )
            check_predictions_path(output_path(output), self.config.predict.overwrite)

    def _keep_folder_clean(self) -> None:
        """Let `fit` write below ``runs``, if nothing else is said, and the other commands write no log.

        Lightning would leave a log with a single line, in a new folder, for each `test`. A logger that was requested on
        the command line, or one of another kind, such as TensorBoard or MLflow, is kept.
        """
        settings = self.config[self.subcommand].trainer
        if self.subcommand == "fit":
            settings.default_root_dir = settings.default_root_dir or RUNS
        elif not any(arg.startswith("--trainer.logger") for arg in sys.argv) and _only_a_file(settings.logger):
            settings.logger = False

    def before_fit(self) -> None:
        """Record curves, and let ctrl-C save a checkpoint, after all other callbacks, as that callback requires."""
        add_training_curves(self.trainer)
        self.trainer.callbacks.append(InterruptCheckpoint())  # type: ignore[attr-defined]


def _silence(settings: Any) -> None:
    """Switch off what Lightning draws."""
    settings.enable_progress_bar = settings.enable_model_summary = False
    if isinstance(settings.callbacks, list):
        drawn = ("ProgressBar", "ModelSummary")
        settings.callbacks = [one for one in settings.callbacks if not one.class_path.endswith(drawn)]


def is_sharded(strategy: Any) -> bool:
    """Return whether a strategy, as configured, is ``ShardedStrategy``."""
    name = strategy if isinstance(strategy, str) else getattr(strategy, "class_path", "")
    return str(name).split(".")[-1] in ("sharded", "ShardedStrategy")


def _only_a_file(logger: Any) -> bool:
    """Tell whether a logger, as it is configured, is Lightning's default or a CSVLogger."""
    return logger in (None, True) or str(getattr(logger, "class_path", "")).endswith(".CSVLogger")
