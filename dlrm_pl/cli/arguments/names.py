"""Unify option names across commands: earlier spellings, and short names for data module settings."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

# Earlier names, accepted until the next version.
_RENAMED = {
    "import-checkpoint": {"--reference": "--upstream", "--to_reference": "--to_upstream"},
    "preprocess": {"--workers": "--threads"},
    "quantize": {"--until": "--stop_at"},
}
# `predict --artifact` and `verify` have options of these names; in commands with a Trainer they are data settings.
_DATA = {
    "validate": {"--batch_size": "--data.eval_batch_size"},
    "test": {"--batch_size": "--data.eval_batch_size"},
    "quantize": {"--batch_size": "--data.eval_batch_size"},
    "predict": {
        "--batch_size": "--data.eval_batch_size",
        "--raw": "--data.predict_raw",
        "--keep": "--data.predict_keep",
        "--truncate_lists": "--data.predict_truncate_lists",
        "--split": "--data.predict_split",
    },
}

# Given only the name, the option parser would treat the strategy as a string, which has no options of its own.
_SHARDED = '{"class_path": "dlrm_pl.distributed.strategy.ShardedStrategy"}'


def with_present_names(command: str, args: Sequence[str]) -> list[str]:
    """Replace earlier names of options in a command line by the current ones, with a warning for each."""
    renamed = _RENAMED.get(command, {})
    for old in {arg.partition("=")[0] for arg in args} & renamed.keys():
        log.warning("%s is now called %s; the earlier name will be removed in the next version", old, renamed[old])
    return _replaced(args, renamed)


def with_data_settings(command: str, args: Sequence[str]) -> list[str]:
    """Make a command with a Trainer accept ``--data FOLDER``, ``--raw``, ``--split`` and ``--batch_size``.

    ``--trainer.strategy sharded`` is replaced by the class path, so that options of the class can follow.
    """
    args = _replaced(args, _DATA.get(command, {}))
    for index, arg in enumerate(args):
        if arg == "--trainer.strategy=sharded" or (arg == "sharded" and args[index - 1] == "--trainer.strategy"):
            args[index] = arg.replace("sharded", _SHARDED)
        if arg == "--data" and index + 1 < len(args) and Path(args[index + 1]).expanduser().is_dir():
            args[index] = "--data.folder"
        elif (match := re.fullmatch(r"--data=(.+)", arg)) and Path(match[1]).expanduser().is_dir():
            args[index] = f"--data.folder={match[1]}"
    return args


def _replaced(args: Sequence[str], names: dict[str, str]) -> list[str]:
    replaced = []
    for arg in args:
        name, equals, value = arg.partition("=")
        replaced.append(f"{names.get(name, name)}{equals}{value}")
    return replaced
