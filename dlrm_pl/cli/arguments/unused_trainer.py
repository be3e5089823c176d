"""Trainer arguments that have no effect on quantization, which trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "accelerator": ("cpu",),
    "strategy": ("auto",),
    "devices": (1, "1", "auto"),
    "num_nodes": (1,),
    "precision": (None, "32-true", "bf16-mixed"),
    "fast_dev_run": (False,),
    "max_time": (None,),
    "overfit_batches": (0.0,),
    "gradient_clip_algorithm": (None, "norm", "value"),
    "deterministic": (None, False),
    "benchmark": (None, False),
    "profiler": (None,),
    "detect_anomaly": (False,),
    "barebones": (False,),
    "plugins": (None,),
    "sync_batchnorm": (False,),
    "model_registry": (None,),
    "enable_checkpointing": (None, True),
}
"""Arguments, with the values that change nothing; only the Trainer itself can interpret other values."""

_FLAGS = (
    *("enable_progress_bar", "enable_model_summary", "inference_mode", "use_distributed_sampler"),
    *("enable_autolog_hparams", "async_checkpoints"),
)
_SMALLEST = {
    "max_epochs": -1,
    "min_epochs": 0,
    "max_steps": -1,
    "min_steps": 0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": -1,
    "log_every_n_steps": 0,
    "accumulate_grad_batches": 1,
    "reload_dataloaders_every_n_epochs": 0,
}
"""Whole numbers, and the smallest that the Trainer takes."""

_SHARES = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    *("val_check_interval", "gradient_clip_val"),
)
_NEVER_NONE = ("max_steps", "accumulate_grad_batches", "reload_dataloaders_every_n_epochs", *_FLAGS[2:])

UNUSED: dict[str, Any] = {
    **dict.fromkeys((*_DEFAULTS, *_FLAGS, *_SMALLEST, *_SHARES, "default_root_dir", "logger"), Any),
    "callbacks": list[Any] | None,
}
"""Names of arguments, with the types that they are parsed as."""

_QUANTIZATION = ("dlrm_pl.QuantizationCallback", "dlrm_pl.callbacks.quantization.QuantizationCallback")
_PROGRESS_BAR = "pytorch_lightning.callbacks.RichProgressBar"
_CALLBACKS: dict[str, tuple[str, ...]] = {
    _PROGRESS_BAR: (),
    "pytorch_lightning.callbacks.ModelCheckpoint": ("dirpath", "filename"),
}
"""Training callbacks whose arguments are strings that cannot be wrong."""

_CSV_LOGGER = "pytorch_lightning.loggers.CSVLogger"


def quantization_settings(trainer: Mapping[str, Any], *, logger_is_asked_for: bool) -> dict[str, Any] | None:
    """Return the arguments of the last QuantizationCallback among a Trainer's arguments.

    Args:
        trainer: the Trainer's arguments that were given.
        logger_is_asked_for: whether the command line names a logger, which then logs the numbers of each trial.

    Returns:
        The arguments, empty if there is no such callback; None if the Trainer has an argument that is not known to have
        no effect.
    """
    settings: dict[str, Any] = {}
    others = set()
    for name, value in trainer.items():
        if name == "callbacks":
            for callback in value or ():
                found = _settings_of(callback)
                if found is None or callback["class_path"] in others:
                    return None
                if callback["class_path"] in _QUANTIZATION:
                    settings = found
                else:
                    others.add(callback["class_path"])  # The Trainer accepts only one of these.
        elif name == "logger":
            if logger_is_asked_for or not (value in (None, False) or _is_csv_logger(value)):
                return None
        elif not _says_nothing(name, value):
            return None
    return None if _PROGRESS_BAR in others and trainer.get("enable_progress_bar") is False else settings


def _settings_of(callback: Any) -> dict[str, Any] | None:
    """Return the arguments of a callback; None if the callback or one of its arguments is not known."""
    if not isinstance(callback, dict) or not callback.keys() <= {"class_path", "init_args"}:
        return None
    path, arguments = callback.get("class_path"), callback.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, dict):
        return None
    if path in _QUANTIZATION:
        unknown = ("metric", "eval_func", "until")  # User-defined classes, and an earlier name.
        known = {name: value for name, value in arguments.items() if name not in unknown}
        return known if all(arguments.get(name) is None for name in unknown) else None
    if path not in _CALLBACKS:
        return None
    texts = {name: value for name, value in arguments.items() if name != "enable_version_counter"}
    fits = isinstance(arguments.get("enable_version_counter", True), bool) and path.endswith("ModelCheckpoint")
    fits = fits or not arguments
    return arguments if fits and all(n in _CALLBACKS[path] and isinstance(v, str) for n, v in texts.items()) else None


def _is_csv_logger(value: Any) -> bool:
    """Tell whether a logger is a CSVLogger, which writes a file only during training."""
    if not isinstance(value, dict) or value.get("class_path") != _CSV_LOGGER:
        return False
    arguments = value.get("init_args") or {}
    return isinstance(arguments, dict) and all(
        name in ("save_dir", "name") and isinstance(text, str) for name, text in arguments.items()
    )


def _says_nothing(name: str, value: Any) -> bool:
    if name in _DEFAULTS:
        return any(type(value) is type(known) and value == known for known in _DEFAULTS[name])
    if value is None:
        return name not in _NEVER_NONE
    if name in _FLAGS:
        return isinstance(value, bool)
    if name in _SMALLEST:
        return type(value) is int and value >= _SMALLEST[name]
    if name in _SHARES:
        return (type(value) is int and value > 0) or (type(value) is float and 0 < value <= 1)
    return name == "default_root_dir" and isinstance(value, str)
