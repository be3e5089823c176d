"""Train a model's tables on a GPU in one storage, with rows updated in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.errors import ConfigurationError
from dlrm_pl.files.sizes import format_bytes
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.fused_tables import FusedTables, joined
from dlrm_pl.model.training.gpu import row_updates
from dlrm_pl.model.training.gpu.graph import Capture, GraphedForward, cuda_graph
from dlrm_pl.model.training.optimizers.settings import TableRule


class FusedStep:
    """The part of a GPU training step that torch's optimizer does not do.

    Args:
        model: the model, before it is moved to the device.
        rule: optimizer of the tables.
        on_host: keep the tables on the host.
        capture: function that records the dense part of the step; None: it is not recorded.
        autocast: dtype that matrix products are computed in; None: the dtype of the weights.
    """

    def __init__(
        self,
        model: DLRM,
        rule: TableRule,
        *,
        on_host: bool = False,
        capture: Capture | None = cuda_graph,
        autocast: torch.dtype | None = None,
    ) -> None:
        bags = model.embedding_bags
        assert isinstance(bags, EmbeddingBags)
        self._model, self._bags, self._rule = model, bags, rule
        self._capture, self._autocast = capture, autocast
        self._fused = bags.fused = FusedTables(bags.tables, model.architecture.is_mean, on_host=on_host)

    def start(self, optimizer: torch.optim.Optimizer) -> GraphedForward | None:
        """Take over the table updates, once the optimizer has its state.

        Returns:
            The forward pass with a recorded dense part; None if no dense part is recorded.
        """
        if self._fused.rows is None:
            self._fused.fill()
        rows = self._fused.rows
        assert rows is not None
        group = next(g for g in optimizer.param_groups if any(p is self._fused.tables[0] for p in g["params"]))
        states: list[dict[str, Any]] = [optimizer.state.get(table, {}) for table in self._fused.tables]
        sums = None if self._rule == "sgd" else _joined_sums(states, rows.device)
        counts = [state["step"] for state in states if "step" in state]

        @torch.no_grad()
        def update(places: Tensor, gradients: Tensor) -> None:
            rate = float(group["lr"])
            if sums is None:
                row_updates.sgd(rows, places, gradients, rate)
            else:
                row_updates.adagrad(rows, sums, places, gradients, rate, group["eps"])
            if counts:
                torch._foreach_add_(counts, 1)

        self._fused.update_rows = update
        return None if self._capture is None else GraphedForward(self._model, self._autocast, self._capture)

    def stop(self) -> None:
        """Turn the tables back into ordinary parameters in place; those on the host are still looked up there."""
        self._fused.update_rows = None
        if not self._fused.on_host:
            self._bags.fused = None


def _joined_sums(states: list[dict[str, Any]], device: torch.device) -> Tensor:
    """Join Adagrad's sums in one tensor; each table's sums become a view of it."""

    def attach(index: int, rows: Tensor) -> None:
        states[index]["sum"] = rows

    return joined([state["sum"] for state in states], device, attach)


def keep_on_host(model: DLRM) -> None:
    """Keep a model's tables on the host when the rest of it moves to a device, for scoring."""
    bags = model.embedding_bags
    if isinstance(bags, EmbeddingBags) and bags.fused is None:
        bags.fused = FusedTables(bags.tables, model.architecture.is_mean, on_host=True)
        bags.fused.fill()


def obstacle(module: Any, trainer: Any) -> str:
    """Return why tables get torch's sparse gradients in training, as a clause; "" if rows are updated in place."""
    return next(_obstacles(module, trainer), "")


def _obstacles(module: Any, trainer: Any) -> Iterator[str]:
    if trainer.world_size > 1:
        yield f"{trainer.world_size} processes average their gradients"
    if trainer.accumulate_grad_batches != 1:
        yield f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}"
    if trainer.gradient_clip_val:
        yield f"trainer.gradient_clip_val is {trainer.gradient_clip_val}"
    for callback in trainer.callbacks:
        if reason := getattr(callback, "needs_torch", ""):
            yield f"{type(callback).__name__} {reason}"
    if str(trainer.precision) not in ("32-true", "bf16-mixed"):
        yield f"trainer.precision is {trainer.precision}"
    if type(module.model) is not DLRM or type(module.model.embedding_bags) is not EmbeddingBags:
        yield "the model is not a plain DLRM"
    elif module.model.embedding_bags.trains_upper_halves:
        yield "model.table_format is split"


def check_room(model: DLRM, rule: TableRule, device: torch.device) -> None:
    """Check that the tables and their optimizer's state fit on a GPU.

    Raises:
        ConfigurationError: they do not fit; the message states both sizes, and what to do.
    """
    architecture = model.architecture
    values = sum(architecture.table_sizes) * architecture.embedding_dim
    state = {"sgd": 0, "adagrad": values, "rwsadagrad": sum(architecture.table_sizes)}[rule]
    free = torch.cuda.mem_get_info(device)[0]
    if 4 * (values + state) > free:
        raise ConfigurationError(
            f"The tables take {format_bytes(4 * values)} and the state of {rule} takes {format_bytes(4 * state)}, "
            f"but {device} has {format_bytes(free)} free. Keep them on the host with --model.tables_on host, or "
            "lower data.max_ind_range."
        )
