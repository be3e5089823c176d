"""All tables of a model behind one lookup, like ``EmbeddingBags``, but with each process holding a part of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlrm_pl.distributed.communication import codecs, sendable
from dlrm_pl.distributed.empty_parts import keep_apart
from dlrm_pl.distributed.initial_weights import Part, copy
from dlrm_pl.distributed.key_jagged import check_indices, joined, key_jagged, lengths_of, reordered
from dlrm_pl.distributed.optimizers import ShardedOptimizer, fused_parameters
from dlrm_pl.distributed.plan.communicated import Communication
from dlrm_pl.distributed.plan.sharding_plan import ShardingPlan
from dlrm_pl.distributed.plan.to_engine import engine_plan
from dlrm_pl.distributed.together import exchanged
from dlrm_pl.errors import DLRMError, LookupIndexError, ShapeError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.embeddings import TABLE_KEY
from dlrm_pl.model.training.optimizers.settings import OptimizerSettings
from dlrm_pl.model.training.sharding import ShardedBags

_PREFIX, _, _SUFFIX = TABLE_KEY.removeprefix("embedding_bags.").partition("{}")


class ShardedTables(ShardedBags):
    """Tables spread over several processes, looked up and updated by TorchRec.

    All processes must look up, and train on, the same number of batches in the same order. Of the batches that they
    look up together, at least one must have samples; in training, all must.

    Args:
        architecture: shape of the model.
        plan: assignment of table parts to processes.
        settings: optimizer of the tables.
        device: device of the parts.
        communication: dtype in which processes send each other values, see ``communication.codecs``.

    Attributes:
        dmp: TorchRec's DistributedModelParallel around an EmbeddingBagCollection with the tables ``t0``, ``t1``, ...
        shapes: rows and columns of each table.
        settings: optimizer of the tables.
        accumulates: whether gradients of several batches are added up before the tables change.
        weight_of_batch: factor for the mean loss of the last batch, so that the mean over processes is the mean over
            all samples: 1 if all processes have the same number of samples.
    """

    dmp: Any

    def __init__(
        self,
        architecture: Architecture,
        plan: ShardingPlan,
        settings: OptimizerSettings,
        device: torch.device,
        communication: Communication = "fp32",
    ) -> None:
        super().__init__()
        from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, PoolingType
        from torchrec.distributed import DistributedModelParallel
        from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
        from torchrec.distributed.types import ShardingEnv
        from torchrec.distributed.types import ShardingPlan as EnginePlan

        self.settings = settings
        self._ranks = dist.get_world_size()
        self._communication = communication
        self._keys = [f"f{table}" for table in range(architecture.num_tables)]
        self.shapes = [(rows, architecture.embedding_dim) for rows in architecture.table_sizes]
        self._sizes = torch.tensor(architecture.table_sizes, device=device)
        collection = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=f"t{table}",
                    embedding_dim=architecture.embedding_dim,
                    num_embeddings=rows,
                    feature_names=[key],
                    pooling=PoolingType.MEAN if is_mean else PoolingType.SUM,
                )
                for table, (key, rows, is_mean) in enumerate(
                    zip(self._keys, architecture.table_sizes, architecture.is_mean, strict=True)
                )
            ],
            device=torch.device("meta"),
        )
        sharder = EmbeddingBagCollectionSharder(
            fused_params=fused_parameters(settings), qcomm_codecs_registry=codecs(communication, device)
        )
        dmp = DistributedModelParallel(
            collection,
            device=device,
            env=ShardingEnv.from_process_group(dist.GroupMember.WORLD),
            plan=EnginePlan({"": engine_plan(plan, collection, sharder, device.type)}),
            sharders=[sharder],
        )
        keep_apart(dmp.module._lookups)
        self.__dict__["dmp"] = dmp  # Not registered in this module, see ShardedBags.
        self.accumulates = False
        self.failure: DLRMError | None = None
        self.weight_of_batch = 1.0
        self._order: Tensor | None = None
        self._in_order = False
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def parts(self) -> list[Part]:
        """Return the parts of tables on this process, including replicated tables."""
        found = []
        for name, weight in self.dmp.state_dict().items():
            table = int(name.split(".")[-2].removeprefix("t"))
            if isinstance(weight, Tensor) and not hasattr(weight, "local_shards"):
                found.append(Part(table, 0, 0, weight.detach()))
                continue
            for shard in weight.local_shards():
                row, column = shard.metadata.shard_offsets
                found.append(Part(table, row, column, shard.tensor.detach()))
        return found

    def named_parts(self) -> list[tuple[str, Tensor]]:
        """Return the parts on this process with their names in messages."""
        return [
            (f"{TABLE_KEY.format(part.table)} (rows from {part.row} on, columns from {part.column} on)", part.values)
            for part in self.parts()
        ]

    def forward(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Sum or average the rows of each bag, see ``EmbeddingBags.forward``.

        Args:
            indices: as in ``ClickBatch``: int64 ``[T, B]`` one-hot, or ``[L]`` with ``offsets``.
            offsets: None, or int64 ``[T * B + 1]``.

        Returns:
            ``[B, T, D]``.

        Raises:
            ShapeError: the indices or offsets are for another number of tables, or a training batch has no samples, on
                any process.
            LookupIndexError: an index is outside its table, on any process.
        """
        lengths = lengths_of(indices, offsets, len(self._keys))
        trains = self.training and torch.is_grad_enabled()
        error = self._error_of(indices, lengths, trains)
        if not (self.accumulates and trains):
            return self._lookup(indices, lengths, error)
        with torch.no_grad():
            pooled = self._lookup(indices, lengths, error)
        pooled.requires_grad_()
        keep = self._kept.append
        pooled.register_hook(lambda gradient: keep((indices, lengths, gradient)))  # type: ignore[no-untyped-call]
        return pooled

    def _error_of(self, indices: Tensor, lengths: Tensor, trains: bool) -> DLRMError | None:
        """Return what is wrong with this process's batch; the other processes are told."""
        if self.failure is not None:
            return self.failure
        if trains and not lengths.shape[1]:
            return ShapeError("the batch has no samples, so it has no mean loss. Remove such batches from the loader.")
        try:
            check_indices(indices, lengths, self._sizes)
        except LookupIndexError as error:
            return error
        return None

    def check_all(self, error: DLRMError | None) -> None:
        """Raise on all processes an error that one of them found; all of them call this at the same point."""
        exchanged(0, error, self._sizes.device)

    def finish_step(self) -> None:
        """Update the tables with the accumulated gradients, like those of one large batch.

        A fused update is final: after each accumulated batch, it would change rows that the next batch looks up, and
        Adagrad would add up the squares of partial gradients.
        """
        if not self._kept:
            return
        indices, lengths = joined([(indices, lengths) for indices, lengths, _ in self._kept])
        gradient = torch.cat([gradient for _, _, gradient in self._kept])
        self._kept.clear()
        with torch.enable_grad():
            self._lookup(indices, lengths).backward(gradient)  # type: ignore[no-untyped-call]

    def make_optimizer(self, dense: list[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
        """Make the optimizer of the MLPs, whose learning rates also reach the tables."""
        return ShardedOptimizer(dense, self._replicated(), settings, self._set_rate)

    def _replicated(self) -> list[nn.Parameter]:
        """Tables that each process holds as a whole, and whose gradients TorchRec averages."""
        whole = [name for name, weight in self.dmp.state_dict().items() if not hasattr(weight, "local_shards")]
        parameters = dict(self.dmp.named_parameters())
        return [parameters[name] for name in whole]

    def _set_rate(self, rate: float) -> None:
        fused = self.dmp.fused_optimizer
        for group in fused.param_groups:
            group["lr"] = rate
        fused.step()

    def _lookup(self, indices: Tensor, lengths: Tensor, error: DLRMError | None = None) -> Tensor:
        own = lengths.shape[1]
        sizes = exchanged(own, error, lengths.device)
        size, samples = sendable(self._communication, max(sizes)), sum(sizes)
        self.weight_of_batch = own * self._ranks / samples if samples else 1.0
        pooled = self.dmp(key_jagged(self._keys, indices, lengths, size)).wait()
        values: Tensor = pooled.values().view(size, len(self._keys), -1)
        if self._order is None:
            places = {key: place for place, key in enumerate(pooled.keys())}
            self._order = torch.tensor([places[key] for key in self._keys], device=values.device)
            self._in_order = list(pooled.keys()) == self._keys
        if not self._in_order:
            values = reordered(values, self._order)
        return values[:own]

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take the parts of this process from the whole tables of a model's state dict."""
        names = [f"{prefix}{_PREFIX}{table}{_SUFFIX}" for table in range(len(self._keys))]
        missing = [name for name in names if name not in state_dict]
        missing_keys += missing
        if not missing:
            copy(self.parts(), [state_dict[name] for name in names])
