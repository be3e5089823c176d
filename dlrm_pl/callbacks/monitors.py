"""Check the metrics that callbacks monitor, so that a wrong name or mode is found before training."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.scored_module import METRICS

_OF_LIGHTNING = ("epoch", "step")  # Lightning can also fill these into checkpoint names.


def check_monitors(module: pl.LightningModule, callbacks: Iterable[pl.Callback], *, validates: bool) -> None:
    """Check the metrics that EarlyStopping and ModelCheckpoint monitor, and those in checkpoint file names.

    Lightning itself checks a monitored metric only after the first epoch, and writes an unknown one into a checkpoint's
    name as ``val_auc=0.000``. A user's module or callback may log metrics that are not known here; unknown names are
    then left to Lightning.

    Args:
        module: module to be trained.
        callbacks: callbacks of the Trainer.
        validates: whether validation runs, so that its metrics are logged.

    Raises:
        ConfigurationError: a metric is unknown (the message lists the known ones), or its mode would keep the worst
            model.
    """
    callbacks = list(callbacks)
    known = {"train_loss": "min"} | ({f"val_{name}": mode for name, mode in METRICS.items()} if validates else {})
    may_log_more = type(module) is not DLRMModule or any(_is_of_the_user(callback) for callback in callbacks)
    rates = any(isinstance(callback, LearningRateMonitor) for callback in callbacks)
    for callback in callbacks:
        if not isinstance(callback, EarlyStopping | ModelCheckpoint) or not callback.monitor:
            continue
        name = callback.monitor
        who = type(callback).__name__
        optional = isinstance(callback, EarlyStopping) and not callback.strict
        if isinstance(callback, ModelCheckpoint) and name in _OF_LIGHTNING:
            _check_mode(who, name, callback.mode, "max")  # The last K are the best K by step.
        elif name in known:
            _check_mode(who, name, callback.mode, known[name])
        elif not (may_log_more or optional or (rates and name.startswith("lr-"))):
            raise ConfigurationError(f"{who}: monitor={name!r}: {_no_such(name, known, validates)}")
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and not may_log_more:
            for name in re.findall(r"\{([^:}]+)", callback.filename or ""):
                if name not in known and name not in _OF_LIGHTNING and not (rates and name.startswith("lr-")):
                    raise ConfigurationError(
                        f"ModelCheckpoint: filename={callback.filename!r}: {_no_such(name, known, validates)}"
                    )


def _check_mode(who: str, name: str, mode: str, better: str) -> None:
    if better not in ("", mode):
        what = (
            "this mode would stop as soon as the model improves"
            if who == "EarlyStopping"
            else "this mode keeps the first checkpoints, not the last"
            if name in _OF_LIGHTNING
            else "this mode keeps the worst model"
        )
        raise ConfigurationError(f"{who}: monitor={name!r} with mode={mode!r}: {what}. Set mode: {better}.")


def _no_such(name: str, known: Mapping[str, str], validates: bool) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    why = "" if validates else " Validation is off (limit_val_batches: 0), so no val metrics are logged."
    return f"unknown metric.{hint} Training logs {', '.join(known)}.{why}"


def _is_of_the_user(callback: pl.Callback) -> bool:
    return type(callback).__module__.split(".")[0] not in ("pytorch_lightning", "lightning", "dlrm_pl")
