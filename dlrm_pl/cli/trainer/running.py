"""Run a command with a Trainer, and turn what Lightning raises into errors of this package."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dlrm_pl.artifact.certificate.certificate import Outcome
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.cli.arguments.usage import read_yaml_with_limits
from dlrm_pl.cli.output import Report, Verbosity
from dlrm_pl.cli.trainer.fit_plan import with_plan_options
from dlrm_pl.cli.trainer.lightning_cli import DLRMCLI
from dlrm_pl.cli.trainer.lightning_log import show_lightnings_lines
from dlrm_pl.cli.trainer.saved_config import SaveConfigOfFit
from dlrm_pl.cli.trainer.sweep_cli import NAME as SWEEP
from dlrm_pl.cli.trainer.sweep_cli import SweepCLI
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.program import program_name
from dlrm_pl.trainer import DLRMTrainer


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
    # Lightning's own use of torch's pytree: nothing a user can act on.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # A second run writes where the first one did, on purpose.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    torch.set_float32_matmul_precision("highest")
    # Not by LightningCLI's `args`: a strategy of several processes starts the others with what sys.argv says.
    sys.argv[1:] = with_plan_options(args)
    show_lightnings_lines(verbosity)
    read_yaml_with_limits()
    try:
        cli = (SweepCLI if args[0] == SWEEP else DLRMCLI)(
            DLRMModule,
            DLRMDataModule,
            trainer_class=DLRMTrainer,
            auto_configure_optimizers=False,
            seed_everything_default=2024,
            save_config_callback=SaveConfigOfFit,
            parser_kwargs={"prog": program_name()},
            # A module's hyperparameters would be those of the command line, whatever a trial changes.
            load_from_checkpoint_support=args[0] != SWEEP,
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
    if isinstance(cli, SweepCLI):
        return [], cli.report
    if cli.plans_only:
        return [], cli.report if os.environ.get("RANK", "0") == "0" else None
    callbacks: list[Any] = cli.trainer.callbacks  # type: ignore[attr-defined]
    outcomes = [callback.outcome for callback in callbacks if isinstance(callback, QuantizationCallback)]
    result = getattr(cli.trainer, "outcome", None)
    ended = [outcome.certificate.outcome for outcome in [*outcomes, result] if outcome is not None]
    return ended, cli.report if cli.trainer.is_global_zero else None
