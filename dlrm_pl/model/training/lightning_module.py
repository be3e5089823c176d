"""DLRMModule: DLRM with its loss, metrics and optimizer, for Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.columns.columns import Columns
from dlrm_pl.documents.arguments import check_arguments
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.memory import require_memory
from dlrm_pl.model.architecture import Architecture, Interaction
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.training.engine.choice import Engine
from dlrm_pl.model.training.gpu.gpu_module import TablePlace
from dlrm_pl.model.training.hyperparameters import plain_list, pooling_of, with_inputs
from dlrm_pl.model.training.losses import Loss
from dlrm_pl.model.training.optimizers.schedule import ScheduleName
from dlrm_pl.model.training.optimizers.settings import DenseRule, TableRule, check_rules
from dlrm_pl.model.training.resuming.run_record import RunRecord
from dlrm_pl.model.training.safeguards.memory_needed import TrainingMemory
from dlrm_pl.model.training.sharding import ShardsTables
from dlrm_pl.model.training.stored_module import StoredModule
from dlrm_pl.model.training.weight_init import draws_on_shards, skips_weight_init
from dlrm_pl.model.weighted_bags import WeightedBags, WeightedPooling
from dlrm_pl.scoring import ROWS_AT_A_TIME, Probabilities


class DLRMModule(StoredModule):
    """DLRM with loss, metrics, optimizer and learning-rate schedule, for Lightning's Trainer.

    The module logs ``train_loss``, and in validation ``val_auroc``, ``val_log_loss``, ``val_normalized_entropy`` and
    ``val_calibration_ratio`` (in testing, ``test_auroc`` and so on).

    Args:
        table_sizes: rows of each embedding table; the command line reads them from the dataset.
        embedding_dim: width of an embedding and of the bottom MLP's output.
        bottom_mlp: widths of the bottom MLP, starting with the number of dense columns, or with 0 to take it from
            ``columns``, and ending in embedding_dim.
        top_mlp: widths of the top MLP without its input, which follows from the interaction; ends in 1.
        interaction: how the dense vector and the embeddings interact: dot products of all pairs (dot), concatenation
            (cat), or concatenation and the cross network of DLRM v2 (dcn).
        self_interaction: with dot, include the product of each vector with itself.
        loss: binary cross-entropy (bce), the same with class weights (wbce), or mean squared error of the probability
            (mse).
        loss_weights: weights of a non-click and of a click, for wbce.
        loss_threshold: t clamps probabilities to [t, 1 - t], in training and inference; 0 is off.
        optimizer: sgd, the default of upstream (facebookresearch/dlrm); adagrad, which learns more from logs of up to a
            few million rows (``configs/experiment/small_log.yaml``); or rwsadagrad, row-wise Adagrad, whose state is
            one number per table row. All of them change only the table rows that a batch looks up.
        learning_rate: learning rate before the schedule.
        lr_num_warmup_steps: number of optimizer steps in which the learning rate grows from 0; 0 is off.
        lr_decay_start_step: optimizer step at which the decay starts.
        lr_num_decay_steps: number of optimizer steps of the decay; 0 is off.
        dataset_fingerprint: fingerprint of the dataset that numbered the categories; the command line reads it from
            the dataset.
        columns: columns of the dataset, or their statement; the command line reads them from the dataset. None:
            Criteo's columns, or, if the numbers of columns differ from those, the data module's.
        cross_layers: with dcn, number of layers of the cross network.
        cross_rank: with dcn, rank of their weights, at most the width of the concatenated vectors.
        epsilon: value that adagrad and rwsadagrad add to the root of their sums; None: 1e-10.
        dense_optimizer: separate optimizer for the MLPs: sgd, adagrad, adam, or lamb, for large batches. None: the same
            as for the tables, or adagrad with rwsadagrad.
        dense_learning_rate: another learning rate for the MLPs; the schedule scales both. None: the same.
        dense_epsilon: epsilon of the MLPs' optimizer; None: 1e-8 for adam, 1e-6 for lamb, 1e-10 for adagrad.
        dense_betas: decay rates of the averages of gradients and of their squares in adam and lamb.
        dense_weight_decay: decoupled weight decay of adam and lamb.
        lr_schedule: what follows the warm-up: upstream, a quadratic decay with its quirks; polynomial; cosine; or
            constant. Without lr_num_decay_steps, upstream has no decay.
        lr_decay_power: power of the polynomial decay.
        lr_end_factor: share of the learning rate at which a polynomial or cosine decay ends.
        engine: code that trains: native, the fused training step in C++, which supports every interaction; torch, its
            autograd; or auto, which uses native if model, optimizer, Trainer and processor allow it, and logs its
            choice and the reason. It is not saved.
        weighted_pooling: learned: each row of a table has a trained weight, which starts at 1 and is multiplied into
            the row when the model is quantized or exported. none and fixed: rows have no weight of their own; fixed is
            upstream's name for weights that stay 1.
        table_format: how much of each table value a training step reads: fp32, the whole value; or split, only its
            upper 16 bits, which are a bfloat16, as in split SGD. With both, updates change all 32 bits, and scoring
            reads all of them.
        tables_on: where the tables are while a GPU trains or scores: on the device, or, if they do not fit there, on
            the host, which then looks up and updates their rows.

    Attributes:
        allow_other_dataset: let the model score rows of a dataset that it was not made for.
        allow_other_settings: let training continue with a batch size, order or precision that differs from the
            checkpoint's.
        resumed_at: step of the checkpoint that training continues from; None if it starts from the beginning.
        rounded_forward: model that ``QuantizationAwareTraining`` trains and validates in place of the float model.
        random_state: state of torch's random number generator with which the weights are drawn, if a strategy draws
            them.

    Raises:
        ConfigurationError: the values do not form a valid network, loss or schedule; the message names the wrong one.

    Example:
        >>> from dlrm_pl import DLRMModule
        >>> module = DLRMModule(table_sizes=[100, 20], embedding_dim=8, bottom_mlp=[13, 8], top_mlp=[16, 1])
        >>> module.predict(([[3.0] * 13], [[42, 7]])).shape
        (1,)
    """

    def __init__(
        self,
        table_sizes: list[int],
        embedding_dim: int = 16,
        bottom_mlp: Sequence[int] = (0, 512, 256, 64, 16),
        top_mlp: Sequence[int] = (512, 256, 1),
        interaction: Interaction = "dot",
        self_interaction: bool = False,
        loss: Loss = "bce",
        loss_weights: Sequence[float] = (1.0, 1.0),
        loss_threshold: float = 0.0,
        optimizer: TableRule = "sgd",
        learning_rate: float = 0.1,
        lr_num_warmup_steps: int = 0,
        lr_decay_start_step: int = 0,
        lr_num_decay_steps: int = 0,
        dataset_fingerprint: str = "",
        columns: Columns | dict[str, Any] | None = None,
        *,
        cross_layers: int = 0,
        cross_rank: int = 0,
        epsilon: float | None = None,
        dense_optimizer: DenseRule | None = None,
        dense_learning_rate: float | None = None,
        dense_epsilon: float | None = None,
        dense_betas: Sequence[float] = (0.9, 0.999),
        dense_weight_decay: float = 0.0,
        lr_schedule: ScheduleName = "upstream",
        lr_decay_power: float = 2.0,
        lr_end_factor: float = 0.0,
        engine: Engine = "auto",
        weighted_pooling: WeightedPooling = "none",
        tables_on: TablePlace = "device",
        table_format: Literal["fp32", "split"] = "fp32",
    ) -> None:
        super().__init__()
        # Plain lists, since hyperparameters are written to YAML files.
        table_sizes, bottom_mlp = plain_list(table_sizes), plain_list(bottom_mlp)
        top_mlp, loss_weights, dense_betas = plain_list(top_mlp), plain_list(loss_weights), plain_list(dense_betas)
        check_rules(optimizer, dense_optimizer)
        check_arguments(DLRMModule.__init__, locals())
        if len(loss_weights) != 2 or not all(0 <= weight < float("inf") for weight in loss_weights):
            raise ConfigurationError(
                f"loss_weights={list(loss_weights)} must be two non-negative numbers: the weights of a non-click and "
                "of a click."
            )
        stated = Columns.of_statement(columns, "model.columns") if isinstance(columns, dict) else columns
        if stated is not None:
            stated.require_computed()
        columns = None if stated is None else stated.statement()  # Hyperparameters are plain values.
        self._columns = stated
        self.save_hyperparameters(ignore=["engine"])
        self.dataset_fingerprint = dataset_fingerprint
        self._add_training(engine)
        self.allow_other_dataset = False
        self.allow_other_settings = False
        self._record = RunRecord()
        self._resumed: RunRecord | None = None
        self.resumed_at: int | None = None
        self.rounded_forward: Callable[[ClickBatch], Tensor] | None = None
        architecture = Architecture(
            table_sizes=tuple(table_sizes),
            embedding_dim=embedding_dim,
            bottom_mlp=with_inputs(bottom_mlp, stated),
            top_mlp=tuple(top_mlp),
            interaction=interaction,
            self_interaction=self_interaction,
            loss_threshold=loss_threshold,
            pooling=pooling_of(stated, len(table_sizes)),
            cross_layers=cross_layers,
            cross_rank=cross_rank,
        )
        if stated is not None and (misfit := architecture.misfit(stated)):
            raise ConfigurationError(
                f"The columns do not fit the model: {misfit}. Take table_sizes and columns from one data module; if "
                "bottom_mlp begins with 0, the number of dense columns takes its place."
            )
        if not skips_weight_init():
            require_memory(
                TrainingMemory.of(architecture).tables,
                "The tables",
                "Cap them with --data.max_ind_range, give a smaller --model.embedding_dim, or use a larger machine.",
            )
        self.random_state = torch.get_rng_state() if draws_on_shards() else None
        with torch.device("meta") if skips_weight_init() else nullcontext():
            self.model = DLRM(architecture)
            if weighted_pooling == "learned":
                self.model.embedding_bags = WeightedBags(self.model.embedding_bags)  # type: ignore[arg-type]
            self.model.embedding_bags.trains_upper_halves = table_format == "split"  # type: ignore[assignment]
        self._add_metrics()

    def setup(self, stage: str) -> None:
        """Let the strategy shard the tables, if it shards tables.

        This does not use ``configure_model``, Lightning's hook for this purpose: it is also called without a trainer,
        and its mere presence makes callbacks warn about sharding.

        Raises:
            ConfigurationError: the module was made for a strategy that shards tables, but this one does not.
        """
        super().setup(stage)
        strategy = self.trainer.strategy
        if isinstance(strategy, ShardsTables):
            strategy.shard_tables(self)
            self.random_state = None
        elif self.random_state is not None:
            raise ConfigurationError(
                "The module was made without weights, so that trainer.strategy=sharded draws them, but the strategy "
                f"is {type(strategy).__name__}. Make the module outside weights_on_shards."
            )

    def forward(self, batch: ClickBatch) -> Tensor:
        """Compute logits ``[B]``."""
        logits: Tensor = (self.rounded_forward or self.graphed_forward or self.model)(batch)
        return logits

    def predict(self, rows: Any, *, batch_size: int = ROWS_AT_A_TIME, raw: bool | None = None) -> Probabilities:
        """Score rows without a Trainer, see ``Scorer.predict``."""
        return self.model.predict(rows, batch_size=batch_size, raw=raw, columns=self.columns)

    def predict_step(self, batch: ClickBatch, batch_idx: int) -> Tensor:
        """Compute click probabilities ``[B]``."""
        probabilities = torch.sigmoid(self(batch))
        self.model.watch.glance()
        return probabilities

    def on_predict_epoch_end(self) -> None:
        """Check that the model's file did not change while probabilities were computed."""
        self.model.watch.check()
