"""`quantize` without a Trainer, if nothing in its configuration needs one.

Lightning and its command-line parser take three seconds of processor time, longer than packing the rows that changed
since an earlier artifact. This module reads the same configuration with a parser of the same kind and calls the same
functions. It never refuses a configuration: what it does not recognize is left to the parser with the Trainer, which
reports what is wrong.
"""

from __future__ import annotations

import logging
import os
from argparse import ArgumentError
from collections.abc import Mapping
from dataclasses import make_dataclass, replace
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrm_pl.cli import garbage
from dlrm_pl.cli.arguments.unused_trainer import UNUSED, quantization_settings
from dlrm_pl.cli.arguments.usage import let_flags_stand_alone, read_yaml_with_limits, with_home
from dlrm_pl.cli.help.layout import HELP
from dlrm_pl.errors import CheckpointError, DLRMError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dlrm_pl.artifact.writing.outcome import Outcome
    from dlrm_pl.workflow.config import QuantizationConfig

log = logging.getLogger(__name__)

_OPENED_BY_LIGHTNING = ("best", "last", "hpc", "registry")
_PRINTS = (*HELP, "--help_all", "--print_config")
_OPTIONS_IN_ENVIRONMENT = "JSONARGPARSE_DEFAULT_ENV"
# Always set from the dataset; values in files are ignored.
_LINKED = ("table_sizes", "dataset_fingerprint", "columns")


def plain_quantize(args: list[str]) -> Outcome | None:
    """Quantize a checkpoint, if no Trainer is needed.

    Args:
        args: command line after the command, with the names of included files already replaced by paths.

    Returns:
        The outcome; None, before anything is done, if the configuration has a setting that is not known here.

    Raises:
        DLRMError: see ``quantize_model``.
    """
    path = _checkpoint_of(args)
    if path is None or any(arg.split("=")[0] in _PRINTS for arg in args) or _OPTIONS_IN_ENVIRONMENT in os.environ:
        return None
    from dlrm_pl.model.checkpoints.file import open_checkpoint

    read_yaml_with_limits()
    opened = open_checkpoint(path)
    hyperparameters = {
        name: value for name, value in opened.get("hyper_parameters", {}).items() if not name.startswith("_")
    }
    if not all(name.isidentifier() and not iskeyword(name) for name in hyperparameters):
        return None
    given = _parsed(args, hyperparameters)
    if given is None or Path(given.pop("ckpt_path", None) or "") != path or given.pop("force", False):
        return None
    given.pop("weights_only", None)
    seed = given.pop("seed_everything", None)
    data, model, trainer = (given.pop(name, {}) for name in ("data", "model", "trainer"))
    if not all(isinstance(group, dict) for group in (data, model, trainer)):
        return None
    settings = quantization_settings(
        trainer, logger_is_asked_for=any(arg.startswith("--trainer.logger") for arg in args)
    )
    if settings is None or seed is False or "folder" not in data or not _is_of_checkpoint(model, hyperparameters):
        return None
    config = _config(settings, given)
    if config is None:
        return None
    return _quantize(opened, path, data, config)


def _quantize(opened: dict[str, Any], path: Path, data: Mapping[str, Any], config: QuantizationConfig) -> Outcome:
    from dlrm_pl.data.loading.split_loaders import SplitLoaders
    from dlrm_pl.model.load import checkpoint_model
    from dlrm_pl.workflow.quantize_model import quantize_model
    from dlrm_pl.workflow.training_record import training_of

    garbage.resume()
    owner, loaders = checkpoint_model(opened, path), SplitLoaders(**data)
    pooling = tuple(column.pooling for column in loaders.columns.sparse)
    wanted = replace(owner.architecture, table_sizes=tuple(loaders.table_sizes), pooling=pooling)
    try:
        owner.contract.check_fits(wanted, loaders.dataset_fingerprint, loaders.columns)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    log.info("%s: loaded (tables are memory-mapped)", path)
    return quantize_model(owner, loaders, config, training=training_of(opened, path))


def _checkpoint_of(args: list[str]) -> Path | None:
    """Return the file of the last ``--ckpt_path``, which is on nearly every command line."""
    value = ""
    for index, arg in enumerate(args):
        option, equals, given = arg.partition("=")
        if option == "--ckpt_path":
            value = given if equals else "".join(args[index + 1 : index + 2])
    is_file = value not in _OPENED_BY_LIGHTNING and ":" not in value and not value.startswith("~")
    return Path(value) if is_file and Path(value).is_file() else None


def _parsed(args: list[str], hyperparameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings in files and options; None if the parser does not know one of them."""
    parser = _parser(hyperparameters)
    try:
        given = with_home(parser.parse_args(args, defaults=False))
        files = given.pop("config", None) or []
        if _gives_callbacks_again(parser, files, args):
            return None
    except ArgumentError:
        return None
    return dict(given.clone(with_meta=False).as_dict())


def _gives_callbacks_again(parser: ArgumentParser, files: list[Any], args: list[str]) -> bool:
    """Tell whether several files or options give callbacks.

    In that case, the parser with the Trainer keeps arguments of earlier callbacks if their classes are the same. This
    parser does not know the classes and keeps only the last list.
    """
    named = sum(arg.split("=")[0] == "--trainer" or arg.startswith("--trainer.callbacks") for arg in args)
    if named + len(files) < 2:
        return False
    # A file is None if its YAML was given on the command line.
    alone = (["--data.folder=", f"--config={file.absolute}"] for file in files if file is not None)
    found = (parser.parse_args(each, defaults=False).get("trainer.callbacks") for each in alone)
    return named + files.count(None) + sum(callbacks is not None for callbacks in found) > 1


def _parser(hyperparameters: Mapping[str, Any]) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    from dlrm_pl.data.loading.split_loaders import SplitLoaders
    from dlrm_pl.workflow.options import with_options

    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_argument("--seed_everything", type=bool | int)
    for name in ("ckpt_path", "weights_only", "force"):
        parser.add_argument(f"--{name}", type=str | None if name == "ckpt_path" else bool)
    parser.add_class_arguments(SplitLoaders, "data", fail_untyped=False, sub_configs=True)
    for group, types in (("model", dict.fromkeys(hyperparameters, Any)), ("trainer", UNUSED)):
        parser.add_class_arguments(_stand_in(group, types), group, sub_configs=True)
    parser.add_function_arguments(with_options, as_group=False, skip={"config"})
    let_flags_stand_alone(parser)
    return parser


def _stand_in(name: str, types: Mapping[str, Any]) -> type:
    """Return a class whose arguments have these names and types."""
    return make_dataclass(name, [(key, kind, None) for key, kind in types.items()])


def _is_of_checkpoint(given: Mapping[str, Any], saved: Mapping[str, Any]) -> bool:
    """Tell whether hyperparameters are those of the checkpoint, so that no message is needed."""
    from dlrm_pl.model.checkpoints.contract import overruled

    plain = {name: value for name, value in given.items() if name not in _LINKED}
    return len(plain) == len(given) and not overruled(saved, plain)


def _config(settings: dict[str, Any], options: dict[str, Any]) -> QuantizationConfig | None:
    """Return the configuration for a QuantizationCallback's arguments and options; None if one is not known."""
    from jsonargparse import ArgumentParser

    from dlrm_pl.quantization.search.settings import TuningSettings
    from dlrm_pl.workflow.config import QuantizationConfig
    from dlrm_pl.workflow.options import with_options

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TuningSettings, "tuning")
    parser.add_class_arguments(QuantizationConfig, "own", skip={"tuning", "metric", "eval_func", "calibration_rows"})
    tuning = {name: value for name, value in settings.items() if name in TuningSettings.__dataclass_fields__}
    own = {name: value for name, value in settings.items() if name not in tuning}
    try:
        parsed = parser.instantiate_classes(parser.parse_object({"tuning": tuning, "own": own}))
        return with_options(replace(parsed.own, tuning=parsed.tuning), **options)
    except (ArgumentError, DLRMError):
        return None
