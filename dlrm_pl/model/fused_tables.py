"""All embedding tables in one storage, looked up in one call, and updated in the backward pass.

On a GPU, a step with many tables mostly consists of launching small kernels: a lookup, a sparse gradient and an update
for each table. Here there is one lookup for all tables, and its backward pass changes the looked-up rows in place,
without a gradient tensor. The tables remain parameters with their own names; each is a view of the storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UpdateRows = Callable[[Tensor, Tensor], None]
"""Called with rows of the storage, int64 ``[L]``, possibly with duplicates, and the gradient of each, ``[L, D]``."""


class FusedTables:
    """Common storage of a model's tables.

    Args:
        owner: module whose parameters are the tables, float ``[rows, D]`` each, on one device. They become views of the
            storage when it is filled: by ``move``, when the model goes to its device, or by ``fill``, where they are.
        is_mean: whether each table averages the rows of a bag; empty: all of them sum.
        on_host: whether the tables stay on the host while the rest of the model is on a device.

    Attributes:
        tables: the parameters; empty until the storage is filled, since loading a checkpoint may replace them.
        rows: the storage, ``[all rows, D]``; None until it is filled.
        update_rows: changes rows in the backward pass of ``lookup``; None outside of training, in which case tables get
            sparse gradients as usual.
    """

    def __init__(self, owner: nn.Module, is_mean: Sequence[bool] = (), *, on_host: bool = False) -> None:
        self._owner = owner
        self.tables: list[nn.Parameter] = []
        self.on_host = on_host
        self.rows: Tensor | None = None
        self.update_rows: UpdateRows | None = None
        self._is_mean = list(is_mean) if any(is_mean) else []
        self._sizes = torch.tensor([len(table) for table in owner.parameters()])
        self._first = self._sizes.cumsum(0) - self._sizes

    @property
    def serves(self) -> bool:
        """Whether ``lookup`` can be used now; without ``update_rows``, it gives tables no gradients."""
        return self.rows is not None and (self.update_rows is not None or not torch.is_grad_enabled())

    @torch.no_grad()
    def fill(self, device: torch.device | None = None) -> None:
        """Copy the tables into the storage one by one, so that no device ever holds all of them twice.

        Args:
            device: device of the storage; None: the tables' device.
        """
        self.tables = list(self._owner.parameters())
        device = self.tables[0].device if device is None else device
        self.rows, self._first, self._sizes = None, self._first.to(device), self._sizes.to(device)
        self.rows = joined([table.data for table in self.tables], device, self._attach)

    def move(self, function: Callable[[Tensor], Tensor]) -> None:
        """Apply ``nn.Module._apply`` to the tables: move them to a device, or convert them.

        Raises:
            TypeError: the function changes their dtype, which training with a common storage does not support.
        """
        first = next(self._owner.parameters())
        probe = function(first.data[:0])
        if probe.dtype != first.dtype:
            raise TypeError(f"tables in one storage stay {first.dtype}, and cannot become {probe.dtype}")
        if probe.device.type == "meta" or (self.on_host and probe.device.type != "cpu"):
            return
        if self.rows is None or probe.device != self.rows.device:
            self.fill(probe.device)

    def lookup(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        """Sum or average the rows of each bag; an empty bag gives zeros.

        Args:
            indices: as in ``ClickBatch``: one-hot int64 ``[T, B]``, or ``[L]`` with ``offsets``.
            offsets: None, or int64 ``[T * B + 1]``.

        Returns:
            ``[B, T, D]`` on the device of ``indices``.

        Raises:
            RuntimeError: an index is outside its table; on a GPU, a later call raises this, as with torch's own
                lookups.
        """
        assert self.rows is not None
        home = indices.to(self.rows.device)
        if offsets is None:
            places, bags = self._places(home, self._first[:, None], self._sizes[:, None]).T, None
        else:
            bags = offsets.to(self.rows.device)
            samples = (len(bags) - 1) // len(self._sizes)
            counts = bags[::samples].diff() if samples else torch.zeros_like(self._sizes)
            first, sizes = (
                part.repeat_interleave(counts, output_size=len(home)) for part in (self._first, self._sizes)
            )
            places = self._places(home, first, sizes)
        if self.update_rows is None:
            return self._pooled(self.rows[places], bags).to(indices.device)
        # Autograd calls a backward pass only if an input requires a gradient, and the rows do not.
        asks = torch.empty(0, device=self.rows.device, requires_grad=True)
        rows: Tensor = _Rows.apply(asks, self, places)  # type: ignore[no-untyped-call]
        return self._pooled(rows, bags).to(indices.device)

    def _places(self, indices: Tensor, first: Tensor, sizes: Tensor) -> Tensor:
        """Return rows of the storage. Without the check, an index beyond its table would be a row of the next table."""
        inside = ((indices >= 0) & (indices < sizes)).all()
        torch._assert_async(inside, "an index is outside its table")
        return indices + first

    def _pooled(self, rows: Tensor, bags: Tensor | None) -> Tensor:
        if bags is None:
            return rows
        everything = torch.arange(len(rows), device=rows.device)
        samples = (len(bags) - 1) // len(self._sizes)
        sums = F.embedding_bag(everything, rows, bags, mode="sum", include_last_offset=True)
        if self._is_mean:
            lengths = bags.diff().clamp_min(1).to(rows.dtype).view(len(self._sizes), samples)
            mean = torch.tensor(self._is_mean, device=rows.device)[:, None]
            sums = sums / torch.where(mean, lengths, 1.0).view(-1, 1)
        return sums.view(len(self._sizes), samples, -1).transpose(0, 1)

    def _attach(self, index: int, rows: Tensor) -> None:
        self.tables[index].data = rows


class _Rows(torch.autograd.Function):
    """Rows of the storage, whose backward pass updates them instead of returning a gradient."""

    @staticmethod
    def forward(ctx: Any, asks: Tensor, fused: FusedTables, places: Tensor) -> Tensor:
        assert fused.rows is not None
        ctx.fused, ctx.places = fused, places
        return fused.rows[places]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        fused: FusedTables = ctx.fused
        if fused.update_rows is not None:  # None if training has ended meanwhile.
            values = gradients[0].reshape(-1, gradients[0].shape[-1])
            fused.update_rows(ctx.places.reshape(-1), values)
            # Checkpoints use the versions of parameters to tell which of them have changed.
            torch.autograd.graph.increment_version(fused.tables)
        return None, None, None


def joined(parts: Sequence[Tensor], device: torch.device, attach: Callable[[int, Tensor], None]) -> Tensor:
    """Copy tensors of equal width into one, freeing each as soon as it is copied.

    Args:
        parts: tensors ``[rows, ...]``. If they are already on the device, they are copied by way of the host.
        device: device of the result.
        attach: called with the number of a part and the view that replaces it.
    """
    if device.type != "cpu" and parts[0].device == device:
        for index, part in enumerate(parts):
            attach(index, part.cpu())
        parts = [part.cpu() for part in parts]
    first, sizes = parts[0], [len(part) for part in parts]
    result = torch.empty(sum(sizes), *first.shape[1:], dtype=first.dtype, device=device)
    bounds = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    for index, (start, stop) in enumerate(pairwise(bounds)):
        result[start:stop] = parts[index]
        attach(index, result[start:stop])
    return result
