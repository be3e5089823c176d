"""The commands that are methods of DLRMTrainer, by LightningCLI; apart from cli.py since its import costs seconds."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich.console import Console

from dlrm_pl.artifact.certificate.certificate import Outcome
from dlrm_pl.artifact.writing.outcome import Outcome as Quantized
from dlrm_pl.callbacks.interrupt import InterruptCheckpoint
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.cli.fit_plan import OPTIONS as PLAN_OPTIONS
from dlrm_pl.cli.fit_plan import add_plan_options, check_plan_options, plan_report, with_plan_options
from dlrm_pl.cli.help import HELP, ShortHelpFormatter, add_common_options
from dlrm_pl.cli.output import Report, Verbosity
from dlrm_pl.cli.trainer_help import arrange_trainer_help
from dlrm_pl.cli.usage import let_flags_stand_alone, own_errors, read_yaml_with_limits, usage_errors, with_home
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.distributed.checkpoints.newest import newest_checkpoint, run_id, was_restarted
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.atomic import atomic_file
from dlrm_pl.model.checkpoints.contract import overruled
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import load_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init, weights_on_shards
from dlrm_pl.program import is_quiet, program_name
from dlrm_pl.serving.output import check_predictions_path, output_path
from dlrm_pl.trainer import DLRMTrainer
from dlrm_pl.workflow.print_summary import print_summary

log = logging.getLogger(__name__)

# Facts of the dataset that the model is built for; they come from the data, not from files or flags.
_LINKS = {
    "table_sizes": "model.table_sizes",
    "dataset_fingerprint": "model.dataset_fingerprint",
    "columns": "model.columns",
}


RUNS = "runs"
"""Where `fit` writes when no ``trainer.default_root_dir`` is given."""


class SaveConfigOfFit(SaveConfigCallback):
    """Keep the whole configuration of a training beside its log; what other commands were told is not that."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write ``config.yaml``, whole or not at all."""
        if stage != "fit":
            return
        folder = trainer.log_dir  # Asked on every rank, since it is broadcast.
        assert folder is not None
        if trainer.is_global_zero:
            config = self.config.clone()
            for name in (
                "overwrite",
                "override",
                *PLAN_OPTIONS,
            ):  # Not of the run; and the next one is to ask for it itself.
                config.pop(name)
            with atomic_file(Path(folder) / self.config_filename) as handle:
                handle.write(self.parser.dump(config))


class DLRMCLI(LightningCLI):
    """LightningCLI with ``quantize``, links from data to model, and our checkpoints."""

    report: Report | None = None
    """What the command reports, once it has run."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The command that was given, of Lightning's and ours: a parser for each takes three times as long to make."""
        every = LightningCLI.subcommands() | {"quantize": {"model", "datamodule"}}
        return {sys.argv[1]: every[sys.argv[1]]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """A fact is written once: what the dataset says reaches the model by itself."""
        for source, target in _LINKS.items():
            plain = Columns.statement if source == "columns" else None  # Hyperparameters are plain values.
            parser.link_arguments(f"data.{source}", target, plain, apply_on="instantiate")

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that raises its errors, see ``usage_errors``, and reads options by their full names only."""
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
        """Parse, with one message for what is refused."""
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
            return  # Which file that is, the Trainer finds out.
        saved = dict(open_checkpoint(Path(path)).get("hyper_parameters", {}))
        linked = {target.split(".")[1] for target in _LINKS.values()}
        model = {name: value for name, value in saved.items() if name not in linked and not name.startswith("_")}
        if model.get("bottom_mlp"):
            # By the dataset's columns, so that how they differ from the checkpoint's is what a message names.
            model["bottom_mlp"] = [0, *model["bottom_mlp"][1:]]
        given = self.parser.parse_args(sys.argv[1:], defaults=False)[subcommand].get("model") or {}
        if subcommand == "fit":
            # What is given stays, and the module compares it with the checkpoint.
            model = {name: value for name, value in model.items() if name not in given}
        elif difference := overruled(model, dict(given)):
            log.warning("%s: %s", path, difference)
        with usage_errors(subcommand, self._subcommand_parsers[subcommand]):
            self.config = self.parser.parse_object({subcommand: {"model": model}}, self.config)

    def _go_on_from_newest(self) -> None:
        """After torchrun has started all processes again, go on from the newest checkpoint that they had saved."""
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
        log.warning("restarted by torchrun: going on from %s", newest or "the beginning, as no checkpoint was saved")

    def instantiate_classes(self) -> None:
        """Make the model without weights where a checkpoint has them: 100 GB of random numbers would be in vain."""
        if self.plans_only:
            self.report = plan_report(self.config.fit)
            return
        path = self.config[self.subcommand].get("ckpt_path")
        if path is None or path == "registry":
            sharded = _is_sharded(self.config[self.subcommand].trainer.strategy)
            with weights_on_shards() if sharded else nullcontext(), own_errors(MisconfigurationException):
                super().instantiate_classes()
            return
        with skip_weight_init(), own_errors(MisconfigurationException):
            super().instantiate_classes()
        if self.config[self.subcommand].get("force"):
            assert isinstance(self.trainer, DLRMTrainer)
            # Its tables are its own, and not those of the dataset.
            self.model = load_checkpoint(Path(self.trainer.checkpoint_file(path)))

    @property
    def plans_only(self) -> bool:
        """Whether only the plan of a training is asked for."""
        return self.subcommand == "fit" and bool(self.config.fit.plan_only)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command, unless only its plan was asked for, which has been made."""
        if not self.plans_only:
            super()._run_subcommand(subcommand)

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot work before anything is built, and leave nothing in the current folder."""
        if self.subcommand == "fit":
            check_plan_options(self.config.fit)
        self._keep_folder_clean()
        if is_quiet():
            _silence(self.config[self.subcommand].trainer)
        if self.subcommand != "fit" and not self.config[self.subcommand].get("ckpt_path"):
            raise ConfigurationError(
                f"{self.subcommand} needs a trained model: give --ckpt_path FILE.ckpt, as `fit` wrote it."
            )
        if self.subcommand == "predict":
            output = self.config.predict.get("output")
            if output is None:
                raise ConfigurationError(
                    "predict needs a file for its probabilities: give --output FILE.csv, FILE.npy or FILE.parquet."
                )
            check_predictions_path(output_path(output), self.config.predict.overwrite)

    def _keep_folder_clean(self) -> None:
        """Let `fit` write below ``runs``, if nothing else is said, and the other commands write no log.

        A log of one line, in a folder of its own, is what Lightning would leave of each `test`. A logger that the
        command line asks for, or one of another kind, as of TensorBoard or MLflow, is the user's.
        """
        settings = self.config[self.subcommand].trainer
        if self.subcommand == "fit":
            settings.default_root_dir = settings.default_root_dir or RUNS
        elif not any(arg.startswith("--trainer.logger") for arg in sys.argv) and _only_a_file(settings.logger):
            settings.logger = False

    def before_fit(self) -> None:
        """Let ctrl-C keep a checkpoint; after all other callbacks, as it asks for."""
        self.trainer.callbacks.append(InterruptCheckpoint())  # type: ignore[attr-defined]

    def after_fit(self) -> None:
        """Report what was trained, and what the QuantizationCallbacks made."""
        trainer: Any = self.trainer
        outcomes = [callback.outcome for callback in trainer.callbacks if isinstance(callback, QuantizationCallback)]
        made = [outcome for outcome in outcomes if outcome is not None]
        saved = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
        data = {
            "global_step": trainer.global_step,
            "epochs": trainer.current_epoch,
            "folder": trainer.log_dir,
            "checkpoints": [path for one in saved for path in (one.best_model_path, one.last_model_path) if path],
            "metrics": trainer.callback_metrics,
            "quantized": [_data_of(outcome) for outcome in made],
        }

        def show() -> None:
            for outcome in made:
                print_summary(outcome, Console())

        self.report = Report(data, show)

    def after_validate(self) -> None:
        """Report the metrics; Lightning has printed its table of them."""
        self.report = Report({"split": "val", "metrics": self.trainer.callback_metrics})

    def after_test(self) -> None:
        """Report the metrics; Lightning has printed its table of them."""
        self.report = Report({"split": "test", "metrics": self.trainer.callback_metrics})

    def after_predict(self) -> None:
        """Report where the probabilities are; the log has said so."""
        assert isinstance(self.trainer, DLRMTrainer)
        self.report = Report({"output": self.config.predict.output, "rows": self.trainer.predicted_rows})

    def after_quantize(self) -> None:
        """Report what was made."""
        assert isinstance(self.trainer, DLRMTrainer)
        outcome = self.trainer.outcome
        assert outcome is not None
        self.report = Report(_data_of(outcome), lambda: print_summary(outcome, Console()))


def _data_of(outcome: Quantized) -> dict[str, Any]:
    """Return what became of a quantization, for JSON."""
    certificate = outcome.certificate
    return {"output": outcome.path, "outcome": certificate.outcome, "certificate": certificate}


def _silence(settings: Any) -> None:
    """Switch off what Lightning draws."""
    settings.enable_progress_bar = settings.enable_model_summary = False
    if isinstance(settings.callbacks, list):
        drawn = ("ProgressBar", "ModelSummary")
        settings.callbacks = [one for one in settings.callbacks if not one.class_path.endswith(drawn)]


def _is_sharded(strategy: Any) -> bool:
    """Tell whether a strategy, as it is configured, is ``ShardedStrategy``."""
    name = strategy if isinstance(strategy, str) else getattr(strategy, "class_path", "")
    return str(name).split(".")[-1] in ("sharded", "ShardedStrategy")


def _only_a_file(logger: Any) -> bool:
    """Tell whether a logger, as it is configured, is Lightning's default or a CSVLogger."""
    return logger in (None, True) or str(getattr(logger, "class_path", "")).endswith(".CSVLogger")


def run(args: list[str], verbosity: Verbosity) -> tuple[list[Outcome], Report | None]:
    """Run one command.

    Returns:
        How each quantization ended, by its certificate; and what the command reports.

    Raises:
        ConfigurationError: Lightning refused the configuration.
    """
    # The loader reads a memory map: more workers would add copies between processes, not speed.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Each process deals its batches itself, and `test` saves no checkpoints: neither is of concern.
    warnings.filterwarnings("ignore", message=".*`IterableDataset` has `__len__` defined.*")
    warnings.filterwarnings("ignore", message=".*The dirpath has changed from.*")
    warnings.filterwarnings("ignore", message=".*tensorboardX.*")
    # TorchRec's use of earlier names of torch's collectives.
    warnings.filterwarnings("ignore", message=r".*torch\.distributed\.\w+` is deprecated.*")
    # Lightning's own use of torch's pytree, and its advice to install another product: nothing a user can act on.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # A second run writes where the first one did, on purpose.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(lambda r: "seamless" not in r.getMessage())
    torch.set_float32_matmul_precision("highest")
    # Not by LightningCLI's `args`: a strategy of several processes starts the others with what sys.argv says.
    sys.argv[1:] = with_plan_options(args)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING if verbosity.quiet else logging.INFO)
    read_yaml_with_limits()
    try:
        cli = DLRMCLI(
            DLRMModule,
            DLRMDataModule,
            trainer_class=DLRMTrainer,
            auto_configure_optimizers=False,
            seed_everything_default=2024,
            save_config_callback=SaveConfigOfFit,
            parser_kwargs={"prog": program_name()},
        )
    except MisconfigurationException as error:
        raise ConfigurationError(str(error)) from error
    except ValueError as error:
        # Lightning has no exception of its own for this mistake, which a small dataset makes of a large one's YAML.
        if "`val_check_interval`" not in str(error):
            raise
        raise ConfigurationError(
            f"{str(error).strip().splitlines()[0].split('. If')[0]}. Give --trainer.val_check_interval 1.0 to "
            "validate at the end of each epoch, or a smaller number of batches."
        ) from error
    except RuntimeError as error:
        # Of a metric that only a module or a callback of the user's may log, Lightning finds out after an epoch.
        if "Early stopping conditioned on metric" not in str(error):
            raise
        raise ConfigurationError(" ".join(str(error).split())) from error
    except SIGTERMException:
        # A SystemExit without a status, which the shell that sent the signal would take for success.
        raise SystemExit(128 + signal.SIGTERM) from None
    if cli.plans_only:
        return [], cli.report if os.environ.get("RANK", "0") == "0" else None
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
    outcomes = [callback.outcome for callback in callbacks if isinstance(callback, QuantizationCallback)]
    result = getattr(cli.trainer, "outcome", None)
    ended = [outcome.certificate.outcome for outcome in [*outcomes, result] if outcome is not None]
    return ended, cli.report if cli.trainer.is_global_zero else None
