"""ShardedStrategy: Lightning's processes, with the tables sharded between them."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor

from dlrm_pl.distributed.checkpoints.checkpointed import CheckpointedStrategy
from dlrm_pl.distributed.communication import check_communication
from dlrm_pl.distributed.engine import require_engine
from dlrm_pl.distributed.initial_weights import copy, draw
from dlrm_pl.distributed.measured_hosts import memory_of_fullest_host, workload_of
from dlrm_pl.distributed.optimizers import ShardedOptimizer
from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.plan.hosts import Hosts, bytes_of
from dlrm_pl.distributed.plan.make import make_plan
from dlrm_pl.distributed.plan.sharding_plan import ShardingPlan
from dlrm_pl.distributed.plan.table import plan_summary, plan_text
from dlrm_pl.distributed.processes.agreement import check_agreement
from dlrm_pl.distributed.processes.watched import WatchedStrategy
from dlrm_pl.distributed.sharded_tables import ShardedTables
from dlrm_pl.distributed.supported import check_supported, remark_on_shardings
from dlrm_pl.distributed.whole_module import whole_module
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.lightning_module import DLRMModule

log = logging.getLogger(__name__)


class ShardedStrategy(WatchedStrategy, CheckpointedStrategy):
    """Several processes that share a model's tables; each trains on its own rows with a copy of the MLPs.

    Args:
        sharding: how tables are divided: auto, which lets TorchRec's planner choose according to the hosts' memory;
            table_wise, row_wise, column_wise, table_row_wise or data_parallel for all tables; or the shardings of some
            tables by name or number, with auto for the others.
        memory: memory of each host that the tables may use, such as 64GiB; None: what is available on the fullest host.
        communication: type of the embeddings, and of their gradients, that processes send each other: fp32, which
            changes nothing; fp16, half the bytes; or int8, a quarter, for table_wise and column_wise. bf16 is for GPUs;
            fp8 is refused, since TorchRec would send something else.
        timeout_s: seconds after which a process stops waiting for the others.
        kwargs: arguments of Lightning's DDPStrategy.

    Raises:
        ConfigurationError: TorchRec is not installed, or does not fit the installed torch.
    """

    strategy_name = "sharded"

    def __init__(
        self,
        sharding: str | dict[str, str] = "auto",
        memory: str | None = None,
        communication: Communication = "fp32",
        timeout_s: float = 600.0,
        **kwargs: Any,
    ) -> None:
        require_engine()
        super().__init__(timeout=timedelta(seconds=timeout_s), **kwargs)
        self.sharding = sharding
        self.memory = memory
        self.communication = communication

    def configure_ddp(self) -> None:
        """Leave the module unchanged: gradients are averaged once they are complete, see ``TrainedModule``."""

    def shard_tables(self, module: Any) -> None:
        """Replace a module's tables by ``ShardedTables``.

        Raises:
            ConfigurationError: the module is not a ``DLRMModule``, or has tables that cannot be sharded.
        """
        if not isinstance(module, DLRMModule):
            raise ConfigurationError(
                f"The strategy {self.strategy_name} shards the tables of a DLRMModule, but the module is a "
                f"{type(module).__name__}."
            )
        model = module.model
        if isinstance(model.embedding_bags, ShardedTables):
            return
        try:
            options = {name: getattr(self, name) for name in ("sharding", "memory", "communication")}
            check_agreement(module, {f"trainer.strategy.{name}": value for name, value in options.items()})
            check_supported(module, self.root_device)
            plan = self._plan(module)
            shardings = {table.sharding for table in plan.tables}
            check_communication(self.communication, shardings, self.root_device.type)
        except ConfigurationError as error:
            error.on_all_processes = True
            raise
        if self.is_global_zero and (remark := remark_on_shardings(module, shardings)):
            log.warning("%s", remark)
        # TorchRec reads the number of processes on a host from torchrun's variable, which Lightning's launcher does not
        # set.
        os.environ.setdefault("LOCAL_WORLD_SIZE", str(self.num_processes))
        tables = ShardedTables(model.architecture, plan, module.optimizers_chosen, self.root_device, self.communication)
        if module.random_state is not None:
            self._draw(model, tables, module.random_state)
        elif not next(model.embedding_bags.parameters()).is_meta:
            copy(tables.parts(), [weight.detach() for weight in model.embedding_bags.parameters()])
        model.embedding_bags = tables

    def _plan(self, module: DLRMModule) -> ShardingPlan:
        """Make the plan on the first process, and send it, or the error, to all processes."""
        device = self.root_device
        memory = None if self.memory is None else bytes_of(self.memory, "memory")
        hosts = Hosts(self.num_nodes, self.num_processes, memory or memory_of_fullest_host(self.num_processes, device))
        found: ShardingPlan | ConfigurationError | None = None
        if self.is_global_zero:
            try:
                found = make_plan(workload_of(module), hosts, self.sharding, device.type, self.communication)
                log.info("%s", plan_summary(found))
                log.debug("%s", plan_text(found))
            except ConfigurationError as error:
                found = error
        found = self.broadcast(found)
        if isinstance(found, ConfigurationError):
            raise found
        assert found is not None
        return found

    def _draw(self, model: DLRM, tables: ShardedTables, state: Tensor) -> None:
        """Give the model the weights that it would have on one process."""
        architecture = model.architecture
        generator = torch.Generator()
        generator.set_state(self.broadcast(state))
        draw(tables.parts(), architecture.table_sizes, architecture.embedding_dim, generator)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(generator.get_state())
            model.draw_dense_weights()

    def whole_module(self, path: Path) -> AbstractContextManager[DLRMModule | None]:
        """Give the first process the module with whole tables, see ``whole_module.whole_module``."""
        module = self.lightning_module
        assert isinstance(module, DLRMModule)
        return whole_module(module, path)

    def training_step(self, *args: Any, **kwargs: Any) -> STEP_OUTPUT:
        """Train on a batch; with accumulation, the tables are updated at the last of the batches."""
        module = self.lightning_module
        assert isinstance(module, DLRMModule)
        tables = module.model.embedding_bags
        assert isinstance(tables, ShardedTables)
        tables.accumulates = module.trainer.accumulate_grad_batches > 1
        tables.failure = None if self.saving is None else self.saving.failure
        for optimizer in self.optimizers:
            if isinstance(optimizer, ShardedOptimizer):
                optimizer.pass_rate_on()
        return super().training_step(*args, **kwargs)

    def backward(self, closure_loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute gradients of the mean over all processes' samples, whose numbers may differ."""
        module = self.lightning_module
        assert isinstance(module, DLRMModule)
        tables = module.model.embedding_bags
        assert isinstance(tables, ShardedTables)
        return super().backward(closure_loss * tables.weight_of_batch, *args, **kwargs)


StrategyRegistry.register("sharded", ShardedStrategy, description="Tables sharded between processes by TorchRec")
