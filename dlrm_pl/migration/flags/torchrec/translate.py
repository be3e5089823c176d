"""Translate a command line of ``dlrm_main.py`` to a plan, or one error with everything that is refused."""

from __future__ import annotations

from dlrm_pl.migration.flags.parse import read_values, unknown_flags
from dlrm_pl.migration.flags.pasted import Pasted
from dlrm_pl.migration.flags.plan import Plan
from dlrm_pl.migration.flags.table import FLAGS as OTHER_FLAGS
from dlrm_pl.migration.flags.torchrec.dataset import translate_dataset
from dlrm_pl.migration.flags.torchrec.network import translate_network
from dlrm_pl.migration.flags.torchrec.table import FLAGS
from dlrm_pl.migration.flags.torchrec.training import translate_training

SCRIPT = "dlrm_main.py"
_SEED = 123  # As in the published runs of the other program.


def is_of_torchrec(pasted: Pasted) -> bool:
    """Return whether a command line is for the TorchRec program: by its script, or without one by its flags."""
    if pasted.program:
        return pasted.program == SCRIPT
    return unknown_flags(pasted.arguments, FLAGS) < unknown_flags(pasted.arguments, OTHER_FLAGS)


def translate_torchrec(pasted: Pasted, config: str) -> Plan:
    """Make the plan, including its refusals.

    Args:
        pasted: command line of the program.
        config: file name of the YAML, for the commands.

    Raises:
        ConfigurationError: the program would not accept the command line.
    """
    values = read_values(pasted.arguments, FLAGS, ("torchrec", "mlperf_v2"))
    plan = Plan(values, config, pasted.processes, pasted.machines, pasted.environment)
    seed = values.by_name["--seed"]
    if seed is None:
        plan.set("seed_everything", _SEED, why="the program draws its weights without a seed")
    else:
        plan.set("seed_everything", seed, "--seed")
    translate_network(plan)
    translate_dataset(plan)
    translate_training(plan)
    return plan
