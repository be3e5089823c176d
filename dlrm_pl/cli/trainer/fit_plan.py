"""`fit --plan_only`: the sharding plan of a multi-process training run, from its options, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentParser

from dlrm_pl.cli.output import Report
from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.decoding.capping import capped_sizes
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.distributed.communication import check_communication
from dlrm_pl.distributed.measured_hosts import host_memory, lookups_and_names
from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.plan.hosts import Hosts, bytes_of
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.placing import AUTO
from dlrm_pl.distributed.plan.table import plan_text
from dlrm_pl.distributed.plan.workload import Workload
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.training.hyperparameters import with_inputs
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings

NO_FOLDER = "NO-DATASET"
"""Placeholder for the dataset, which a plan does not need."""

_OPTIONS: dict[str, tuple[Any, Any, str]] = {
    "plan_only": (bool, False, "print how the tables would be placed on several processes, without training"),
    "plan_hosts": (int | None, None, "number of hosts in the plan; default: trainer.num_nodes"),
    "plan_processes": (int | None, None, "number of processes on each host in the plan; default: trainer.devices"),
    "plan_memory": (
        str | None,
        None,
        "memory of each host, such as 64GiB; default: what this host has left",
    ),
    "plan_table_sizes": (list[int] | None, None, "rows of each table, instead of those of a dataset"),
    "plan_lookups": (
        list[float] | None,
        None,
        "mean number of rows in a bag, for each table; default: the columns' maximum",
    ),
}
OPTIONS = tuple(_OPTIONS)
"""Options of `fit` that only concern the plan."""


def add_plan_options(parser: ArgumentParser) -> None:
    """Add the plan options to the parser of `fit`."""
    for name, (kind, default, text) in _OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)


def with_plan_options(args: list[str]) -> list[str]:
    """Allow a plan without a dataset, although the parser insists on the name of a folder.

    Args:
        args: command line, beginning with the command.
    """
    if args[0] == "fit" and any(arg.split("=")[0] == "--plan_only" for arg in args):
        return [args[0], f"--data.folder={NO_FOLDER}", *args[1:]]
    return args


def check_plan_options(config: Any) -> None:
    """Refuse plan options if no plan was requested.

    Args:
        config: configuration of `fit`.

    Raises:
        ConfigurationError: an option is given without ``plan_only``.
    """
    given = [name for name in OPTIONS if name != "plan_only" and config.get(name) is not None]
    if given and not config.plan_only:
        raise ConfigurationError(f"--{given[0]} only applies to a plan. Give --plan_only with it.")


def plan_report(config: Any) -> Report:
    """Make the plan that the options of `fit` describe.

    Args:
        config: configuration of `fit`.

    Raises:
        ConfigurationError: neither a dataset nor the tables' numbers of rows are given; or the tables do not fit.
        DatasetError: there is no such dataset.
    """
    trainer = config.trainer
    device = "cuda" if trainer.accelerator in ("cuda", "gpu") else "cpu"
    strategy = getattr(trainer.strategy, "init_args", None)
    hosts = _hosts(config, device, None if strategy is None else strategy.get("memory"))
    sharding = AUTO if strategy is None else strategy.get("sharding", AUTO)
    communication: Communication = "fp32" if strategy is None else strategy.get("communication", "fp32")
    plan = make_plan(_workload(config), hosts, sharding, device, communication)
    check_communication(communication, {table.sharding for table in plan.tables}, device)
    return Report(plan.to_dict(), plan_text(plan))


def _hosts(config: Any, device: str, memory: str | None) -> Hosts:
    count = config.trainer.num_nodes if config.plan_hosts is None else config.plan_hosts
    processes = _devices(config.trainer.devices) if config.plan_processes is None else config.plan_processes
    given = config.plan_memory if config.plan_memory is not None else memory
    if given is None:
        import torch

        return Hosts(count, processes, host_memory(max(1, processes), torch.device(device)))
    return Hosts(count, processes, bytes_of(given, "plan_memory"))


def _devices(devices: Any) -> int:
    """Number of processes that Lightning would start on a host."""
    if isinstance(devices, list):
        return len(devices)
    return int(devices) if str(devices).isdecimal() else 1


def architecture_and_optimizers(
    model: Any, columns: Columns, table_sizes: Sequence[int]
) -> tuple[Architecture, OptimizerSettings]:
    """Return the architecture and the optimizers of a model from its configuration, without making it.

    Args:
        model: settings of the model.
        columns: columns of its rows.
        table_sizes: rows of each table.
    """
    architecture = Architecture(
        table_sizes=tuple(table_sizes),
        embedding_dim=model.embedding_dim,
        bottom_mlp=tuple(with_inputs(model.bottom_mlp, columns)),
        top_mlp=tuple(model.top_mlp),
        interaction=model.interaction,
        self_interaction=model.self_interaction,
        cross_layers=model.cross_layers,
        cross_rank=model.cross_rank,
    )
    optimizers = OptimizerSettings(
        **{field.name: model[field.name] for field in fields(OptimizerSettings)}
        | {"dense_betas": tuple(model.dense_betas)}
    )
    return architecture, optimizers


def _workload(config: Any) -> Workload:
    columns, sizes = _tables(config)
    architecture, settings = architecture_and_optimizers(config.model, columns, sizes)
    lookups, names = lookups_and_names(columns if config.plan_table_sizes is None else None)
    lookups = tuple(config.plan_lookups or lookups)
    scored = 0 if config.trainer.limit_val_batches == 0 else config.data.eval_batch_size
    return Workload(architecture, settings, config.data.batch_size, lookups, names, scored)


def _tables(config: Any) -> tuple[Columns, list[int]]:
    """Return columns and table sizes: those of the dataset, or as given, with Criteo's numeric columns."""
    if config.plan_table_sizes is not None:
        return Columns.criteo(), config.plan_table_sizes
    if config.data.folder == NO_FOLDER:
        raise ConfigurationError(
            "A plan needs the number of rows of each table. Give --data.folder with a dataset, or "
            "--plan_table_sizes, as in --plan_table_sizes '[40000000, 39060, 3]'."
        )
    data = config.data
    stated = StatedTables.of_options(data.table_sizes, data.multi_hot_sizes, data.multi_hot_distribution)
    folder = DatasetFolder.open(data.folder, rows=False, stated=stated)
    return folder.columns, list(capped_sizes(folder.table_sizes, config.data.max_ind_range, folder.columns))
