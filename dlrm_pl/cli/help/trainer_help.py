"""Lay out the help of the commands that are methods of DLRMTrainer: two screens instead of five hundred lines."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from dlrm_pl.cli.command_table import EXAMPLES, TRAINER
from dlrm_pl.cli.help.layout import COMMON_NAMES, arrange
from dlrm_pl.program import program_name

TRAINER_TEXTS = {
    "max_epochs": "stop after this number of epochs",
    "max_steps": "stop after this number of optimizer steps; -1: no limit",
    "max_time": "stop after this time, DD:HH:MM:SS",
    "limit_train_batches": "train on this number of batches per epoch, or this share of them (1.0: all)",
    "limit_val_batches": "validate on this number of batches, or on this share of them; 0: do not validate",
    "limit_test_batches": "test on this number of batches, or on this share of them",
    "limit_predict_batches": "score this number of batches, or this share of them",
    "val_check_interval": "validate after this number of batches, or after this share of an epoch",
    "log_every_n_steps": "steps between two lines of the training log",
    "logger": "class of the logger; false: none",
    "accumulate_grad_batches": "number of batches per optimizer step",
    "devices": "number of processes",
    "default_root_dir": "folder for logs, configuration and checkpoints; default: runs",
}
"""Help texts for the most used options of Lightning's Trainer."""
_TRAINER_OF = {
    "fit": (
        "max_epochs",
        "max_steps",
        "max_time",
        "limit_train_batches",
        "limit_val_batches",
        "val_check_interval",
        "log_every_n_steps",
        "logger",
        "devices",
        "default_root_dir",
    ),
    "validate": ("limit_val_batches", "logger", "devices"),
    "test": ("limit_test_batches", "logger", "devices"),
    "predict": ("limit_predict_batches",),
    "quantize": ("logger",),
    "sweep": ("max_epochs", "limit_train_batches", "limit_val_batches", "accumulate_grad_batches"),
}
_HIDDEN = frozenset(("weights_only", "verbose", "return_predictions", "until", "dataloaders", "train_dataloaders"))
_HIDDEN |= {"val_dataloaders"}
"""Options that exist for callers from Python, or for configurations that ``fit`` saved."""
_FIT_ONLY = frozenset(("data.batch_size", "data.shuffle", "data.seed", "data.num_workers"))
_PREDICT_ONLY = frozenset(("data.predict_split", "data.predict_raw", "data.predict_truncate_lists"))
_DATA_HIDDEN = {
    "fit": _PREDICT_ONLY,
    "validate": _FIT_ONLY | _PREDICT_ONLY | {"data.calibration_rows"},
    "test": _FIT_ONLY | _PREDICT_ONLY | {"data.calibration_rows"},
    "predict": _FIT_ONLY | {"data.calibration_rows"},
    "quantize": _FIT_ONLY | _PREDICT_ONLY,
    "sweep": _PREDICT_ONLY | {"data.calibration_rows"},
}
"""Settings of the data module that a command does not use."""
_CALLBACK = "dlrm_pl.QuantizationCallback"


def arrange_trainer_help(parser: ArgumentParser, name: str, own: Sequence[str], callback: Sequence[str]) -> None:
    """Prepare a parser to print a short help.

    Args:
        parser: the command's parser, with all its options; afterwards it can only print its help.
        name: name of the command.
        own: the command's own options.
        callback: settings of QuantizationCallback.
    """
    program = program_name()
    shown = [setting for setting in callback if setting not in _HIDDEN]
    parser.usage = f"{program} {name} [-c FILE.yaml ...] [OPTION ...]\nexample: {program} {name} {EXAMPLES[name]}"
    parser.description = f"{TRAINER[name]} Options may also be given in a YAML file, as in `data: {{batch_size: 64}}`."
    for action in parser._actions:
        if (text := TRAINER_TEXTS.get(action.dest.removeprefix("trainer."))) and action.dest.startswith("trainer."):
            action.help = text
        if action.dest == "seed_everything":
            action.help, action.metavar = "random seed", "N"
        if action.dest == "trainer.callbacks":
            action.help = (
                f"add a callback, as `-c int8` does with a YAML file: its class, for example {_CALLBACK}, then its "
                f"settings as --trainer.callbacks.NAME VALUE: {', '.join(shown)}. `--trainer.callbacks.help "
                f"{_CALLBACK}` explains them"
            )
            action.metavar = "CLASS"
            action.option_strings = ["--trainer.callbacks+"]
    options = [action.dest for action in parser._actions if "-" in [name[0] for name in action.option_strings]]
    in_data = [option for option in options if option.startswith("data.") and option not in _DATA_HIDDEN[name]]
    in_model = [option for option in options if option.startswith("model.")]
    groups: list[tuple[str, Sequence[str]]] = [
        (f"options of {name}", [option for option in own if option not in _HIDDEN]),
        ("data", in_data),
    ]
    if name in ("fit", "sweep"):
        groups.append(("model", in_model))
    trainer = [f"trainer.{option}" for option in _TRAINER_OF[name]]
    groups.append(("trainer: the most used of Lightning's options", trainer))
    if name in ("fit", "quantize"):
        groups.append(("callbacks", ["trainer.callbacks"]))
    groups.append(
        (
            "common options",
            ["config", "seed_everything", *COMMON_NAMES, "help_all"],
        )
    )
    arrange(parser, groups)
