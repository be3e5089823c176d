"""Trials of `sweep`: a short `fit` each, run one after the other in this process."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.seed import seed_everything

from dlrm_pl.cli.arguments.usage import own_errors
from dlrm_pl.cli.trainer.fit_plan import architecture_and_optimizers
from dlrm_pl.cli.trainer.lightning_cli import is_sharded
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError, DLRMError, NonFiniteError, OutputError
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.memory import available_bytes
from dlrm_pl.model.training.safeguards.memory_needed import TrainingMemory
from dlrm_pl.sweep.progress import batches_of, rows_of_fit, scored_after
from dlrm_pl.sweep.search import values_text
from dlrm_pl.sweep.space import Space, fitting_widths
from dlrm_pl.sweep.study import Judge
from dlrm_pl.sweep.training import ScoreShares
from dlrm_pl.sweep.trial import Trial
from dlrm_pl.trainer import DLRMTrainer

log = logging.getLogger(__name__)

_LEFT_OUT = re.compile(
    r"(pytorch_lightning|lightning|dlrm_pl)\..*"
    r"(EarlyStopping|Monitor|MLPerfLogging|ModelCheckpoint|ModelSummary|ProgressBar|QuantizationCallback|Timer)"
)
"""Names of callbacks that write, draw or end a training run; trials run without them."""
_TRAINER: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "async_checkpoints": False,
    "default_root_dir": None,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": None,
    "fast_dev_run": False,
    "max_time": None,
    "min_epochs": None,
    "min_steps": None,
    "check_val_every_n_epoch": None,
    "val_check_interval": 1,
}
"""Trainer settings that are the same in every trial."""
_FEW_CLICKS = 100
"""Clicks below which the standard error of an AUROC of 0.7 is 0.03 or more (Hanley and McNeil 1982)."""
_MOST_EXTREMES = 4096
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def trial_config(config: Namespace) -> Namespace:
    """Return the configuration of `fit` without what trials leave out: logs, checkpoints, bars, quantization.

    Raises:
        ConfigurationError: validation is off, or several processes are configured to train.
    """
    changed = config.clone()
    trainer = changed.trainer
    if trainer.limit_val_batches == 0:
        raise ConfigurationError(
            "trainer.limit_val_batches=0: a sweep compares trials by their AUROC on val. Leave it out."
        )
    if is_sharded(trainer.strategy) or trainer.num_nodes > 1:
        raise ConfigurationError("A sweep trains in one process. Leave out trainer.strategy and trainer.num_nodes.")
    trainer.callbacks = [
        callback for callback in trainer.callbacks or () if not _LEFT_OUT.fullmatch(callback.class_path)
    ]
    for name, value in _TRAINER.items():
        trainer[name] = value
    return changed


class TrialTrainer:
    """Trains the trials of a sweep.

    Args:
        config: configuration that trials vary, see ``trial_config``.
        make: creates the model, the data and the Trainer's arguments from a configuration.
        change: returns a configuration with other values for some settings.
        space: search space of the sweep.
        validations: number of validations in each trial.

    Attributes:
        rows: number of rows that each trial trains on, see ``choose_rows``.
        seed: seed of the training runs.

    Raises:
        DLRMError: the dataset or the Trainer's arguments are wrong.
    """

    def __init__(
        self,
        config: Namespace,
        make: Callable[[Namespace], Namespace],
        change: Callable[[Namespace, dict[str, Any]], Namespace],
        space: Space,
        validations: int,
    ) -> None:
        self._config, self._make, self._change = config, make, change
        self._space, self._validations = space, validations
        seed = config.seed_everything
        self.seed = 2024 if isinstance(seed, bool) else int(seed)
        self.rows = 0
        # If the group was read from a file, its metadata contains the path.
        arguments = vars(config.data.clone(with_meta=False))
        with _silent():
            self._data = DLRMDataModule(**arguments)
        self._data.setup("fit")
        self._epoch_batches = len(self._data.train_dataloader())

    def choose_rows(self, rows: int | None, max_steps: int | None) -> None:
        """Choose the number of rows of each trial, and report what follows from it.

        Args:
            rows: number of rows; None for as many as `fit` would train on.
            max_steps: the number of rows in optimizer steps; None for as many as `fit` would train on.

        Raises:
            ConfigurationError: both are given, or one is out of range.
        """
        trainer, data = self._config.trainer, self._config.data
        accumulated = trainer.accumulate_grad_batches
        most = rows_of_fit(
            self._epoch_batches,
            data.batch_size,
            accumulated,
            epoch_rows=self._data.folder.splits["train"].records,
            max_epochs=trainer.max_epochs,
            max_steps=-1 if trainer.max_steps is None else trainer.max_steps,
            limit=trainer.limit_train_batches,
        )
        if rows is not None and max_steps is not None:
            raise ConfigurationError("--rows_per_trial and --max_steps are mutually exclusive. Leave out one of them.")
        for name, value in (("rows_per_trial", rows), ("max_steps", max_steps)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}={value} must be at least 1.")
        if max_steps is not None:
            rows = max_steps * data.batch_size * accumulated
        self.rows = min(most, most if rows is None else rows)
        if self.rows < 1:
            raise ConfigurationError(
                "With these values of trainer.max_epochs, max_steps and limit_train_batches, nothing is trained."
            )
        steps = batches_of(self.rows, data.batch_size, accumulated) // accumulated
        decay = self._config.model.lr_decay_start_step
        if self._config.model.lr_num_decay_steps and decay >= steps:
            log.warning(
                "the learning rate of a trial never decays: trials have %s steps, but the decay begins at step %s. "
                "The best learning rate of such trials may be too low for the whole training run",
                f"{steps:,}",
                f"{decay:,}",
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What scores depend on in addition to the configuration and the space, in plain JSON types."""
        val = self._data.folder.splits["val"]
        return {
            "rows_per_trial": self.rows,
            "seed_everything": self.seed,
            "dataset": {
                "fingerprint": self._data.dataset_fingerprint,
                "train": self._data.training_settings["train_checksum"],
                "val": val.checksum,
                "train_rows": self._data.folder.splits["train"].records,
                "val_rows": val.records,
            },
        }

    def announce(self) -> None:
        """Report how long trials are, and how much memory the largest in the space takes."""
        clicks = self._data.folder.splits["val"].positives
        if clicks is not None and clicks < _FEW_CLICKS:
            log.warning(
                "val has only %d clicks, so its AUROC may be off by several hundredths, which is more than most "
                "settings gain. Use more rows, or do not choose settings by this AUROC",
                clicks,
            )
        most: tuple[dict[str, Any], TrainingMemory] | None = None
        for values in islice(self._space.extremes(), _MOST_EXTREMES):
            with suppress(DLRMError):  # An invalid combination only makes its own trial fail.
                memory = self._memory(values)
                if most is None or memory.total > most[1].total:
                    most = values, memory
        largest = (
            ""
            if most is None
            else (
                f"; the largest take {format_bytes(most[1].total)} of memory ({values_text(most[0])}), and "
                f"{format_bytes(available_bytes())} are available"
            )
        )
        log.info("trials of %s rows, validated %d times%s", f"{self.rows:,}", self._validations, largest)

    def complete_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a trial, including those that follow from them."""
        return fitting_widths(values, list(self._config.model.bottom_mlp))

    def train(self, trial: Trial, judge: Judge) -> Trial:
        """Train with the settings and the seed of a trial, and return it with its scores.

        Raises:
            DLRMError: the given configuration itself cannot be trained, or an output cannot be written.
        """
        try:
            trial = replace(trial, memory_bytes=self._memory(trial.values).total)
            return self._trained(trial, judge)
        except NonFiniteError as error:
            return replace(trial, state="failed", reason=_line(error))
        except (DLRMError, MisconfigurationException) as error:
            if trial.is_given or isinstance(error, OutputError):
                raise
            return replace(trial, state="failed", reason=_line(error))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
                words in str(error) for words in _NO_MEMORY
            ):
                raise
            return replace(trial, state="failed", reason=f"out of memory: {_line(error)}")
        finally:
            # Module and Trainer refer to each other. Free the tables now, before the next trial allocates its own.
            gc.collect()

    def _trained(self, trial: Trial, judge: Judge) -> Trial:
        values = self.complete_values(trial.values) | {"data.seed": self._config.data.seed + trial.seed - self.seed}
        config = self._change(self._config, values)
        with _silent():
            seed_everything(trial.seed, workers=True)
            with own_errors(MisconfigurationException):
                made = self._make(config)
            batch_size, accumulated = config.data.batch_size, config.trainer.accumulate_grad_batches
            batches = batches_of(self.rows, batch_size, accumulated)
            scores: dict[int, float] = {}

            def report(number: int, auroc: float) -> bool:
                scores[number] = auroc
                return number < self._validations and judge(number, auroc)

            after = scored_after(batches, self._validations)
            scoring = ScoreShares(after, report)
            arguments = dict(vars(made.trainer))
            arguments["callbacks"] = [*(arguments["callbacks"] or ()), scoring]
            with own_errors(MisconfigurationException):
                trainer = DLRMTrainer(**(arguments | {"max_epochs": -1, "max_steps": batches // accumulated}))
            if trainer.world_size > 1:
                raise ConfigurationError(f"A sweep trains in one process, not in {trainer.world_size}.")
            trainer.fit(made.model, datamodule=made.data)
        rows = min(after[scoring.reported - 1] * batch_size, self.rows) if scoring.reported else 0
        trial = replace(trial, scores=scores, rows=rows)
        if scoring.is_ended:
            return replace(trial, state="pruned")
        if scoring.reported < self._validations:
            return replace(trial, state="failed", reason="a callback ended the training before its last validation")
        return replace(trial, state="complete")

    def _memory(self, values: Mapping[str, Any]) -> TrainingMemory:
        """Return the memory of a training with these settings."""
        model, data = self._config.model.clone(), self._config.data.clone()
        for name, value in self.complete_values(values).items():
            group, _, last = name.partition(".")
            if group in ("model", "data") and last in (model if group == "model" else data):
                (model if group == "model" else data)[last] = value
        architecture, optimizers = architecture_and_optimizers(model, self._data.columns, self._data.table_sizes)
        return TrainingMemory.of(
            architecture,
            optimizers,
            batch_size=data.batch_size,
            accumulated=self._config.trainer.accumulate_grad_batches,
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


@contextmanager
def _silent() -> Iterator[None]:
    """Log only errors, so that trials do not repeat the messages of a training run; with -v, log everything."""
    names = ("dlrm_pl", "pytorch_lightning", "lightning_fabric")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    verbose = loggers[0].level == logging.DEBUG
    for logger in () if verbose else loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
