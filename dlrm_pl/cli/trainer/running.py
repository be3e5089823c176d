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
        The outcome of each quantization, as in its certificate, and the command's report.

    Raises:
        ConfigurationError: Lightning refused the configuration.
    """
    # The loader reads a memory map: more workers would add copies between processes, not speed.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Neither is a problem: each process selects its own batches, and `test` saves no checkpoints.
    warnings.filterwarnings("ignore", message=".*`IterableDataset` has `__len__` defined.*")
    warnings.filterwarnings("ignore", message=".*The dirpath has changed from.*")
    warnings.filterwarnings("ignore", message=".*tensorboardX.*")
    # TorchRec uses former names of torch's collectives.
    warnings.filterwarnings("ignore", message=r".*torch\.distributed\.\w+` is deprecated.*")
    # Lightning uses a deprecated part of torch's pytree; users can do nothing about it.
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    # A second run writes to the same folder as the first one, on purpose.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    torch.set_float32_matmul_precision("highest")
    # Not through LightningCLI's `args`: strategies with several processes start the others with sys.argv.
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
            # Otherwise, the module's hyperparameters would be those of the command line, without the trial's changes.
            load_from_checkpoint_support=args[0] != SWEEP,
        )
    except MisconfigurationException as error:
        raise ConfigurationError(str(error)) from error
    except ValueError as error:
        # Lightning has no exception class for this mistake, which occurs if the YAML of a large dataset is used with a
        # small one.
        if "`val_check_interval`" not in str(error):
            raise
        raise ConfigurationError(
            f"{str(error).strip().splitlines()[0].split('. If')[0]}. Give --trainer.val_check_interval 1.0 to "
            "validate at the end of each epoch, or a smaller number of batches."
        ) from error
    except RuntimeError as error:
        # A user's module or callback might log the metric, so Lightning finds out only after an epoch that nothing did.
        if "Early stopping conditioned on metric" not in str(error):
            raise
        raise ConfigurationError(" ".join(str(error).split())) from error
    except SIGTERMException:
        # SIGTERMException is a SystemExit without a status, which a shell would treat as success.
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
