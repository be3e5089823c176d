"""Random calls of the native training step in every variant, compared with torch: random models, faulty batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import DLRMError
from dlrm_pl.kernels.training.rates import Rates
from dlrm_pl.kernels.training.selection import levels
from dlrm_pl.kernels.training.steps import StepFailure
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from tests.fuzz.outcome import HUGE, Rng
from tests.support.native.native_steps import Trained, a_batch, gradients


def training_steps(rng: Rng) -> None:
    """Train a random model for a step; a refused step must change nothing, others must apply the gradient."""
    architecture = any_architecture(rng)
    torch.manual_seed(int(rng.integers(1 << 30)))
    model = DLRM(architecture)
    precision = str(rng.choice(["fp32", "bf16"]))
    level = int(rng.choice(list(levels(precision))))  # type: ignore[arg-type]
    rule = str(rng.choice(["sgd", "sgd", "adagrad", "rwsadagrad"]))
    dense_rule = str(rng.choice(["sgd", "sgd", "adagrad", "adam", "lamb"]))
    trained = Trained(model, dense_rule=dense_rule, table_rule=rule, precision=precision, level=level)  # type: ignore[arg-type]
    size = int(rng.choice([1, 2, 31, 32, 33, int(rng.integers(1, 300))]))
    batch = a_batch(architecture, size, int(rng.integers(1 << 30)), multi_hot=bool(rng.random() < 0.4))
    exact = dense_rule == rule == "sgd" and precision == "fp32"
    expected = gradients(model, batch)[1] if exact else []
    damaged = damage(rng, batch)
    before = trained.weights()
    options: dict[str, Any] = {"threads": int(rng.choice([1, 1, 2, 3]))}
    if rng.random() < 0.3:
        options["largest_norm" if rng.random() < 0.5 else "largest_value"] = 1e6  # Changes nothing.
    rates = Rates(1.0, 1e-6, correction1=0.1, correction2=0.001)
    given = misshapen(rng, damaged)
    try:
        found = trained.try_step(given, rates, **options)
    except DLRMError:
        found = None
    after = trained.weights()
    if found is None or isinstance(found, StepFailure):
        assert given is not batch, f"a batch without a fault was refused: {found}"
        assert all(map(torch.equal, before, after)), "a refused batch changed the weights"
    elif exact and given is batch:
        for old, new, gradient in zip(before, after, expected, strict=True):
            scale = float(gradient.abs().max()) + 1e-2
            assert float((old - new - gradient).abs().max()) < 1e-4 * scale, architecture


TARGETS: tuple[Callable[[Rng], None], ...] = (training_steps,)


def any_architecture(rng: Rng) -> Architecture:
    dim = int(rng.choice([1, 2, 7, 8, 16, 17, 32, 33, 65, 128]))
    count = int(rng.choice([1, 2, 3, 15, 16, 31, 32, 40]))
    inputs = int(rng.choice([1, 3, 13, 32, 33]))
    widths = [int(width) for width in rng.integers(1, 150, int(rng.integers(0, 3)))]
    top = [int(width) for width in rng.integers(1, 150, int(rng.integers(0, 3)))]
    kind = str(rng.choice(["dot", "dot", "dot", "cat", "dcn", "dcn"]))
    crossed = {"cross_layers": int(rng.integers(1, 4)), "cross_rank": min(int(rng.integers(1, 130)), (count + 1) * dim)}
    return Architecture(
        tuple(int(rows) for rows in rng.integers(1, 60, count)),
        dim,
        (inputs, *widths, dim),
        (*top, 1),
        interaction=kind,  # type: ignore[arg-type]
        self_interaction=bool(kind != "dcn" and rng.random() < 0.3),
        **crossed if kind == "dcn" else {},
        pooling=tuple(str(rng.choice(["sum", "mean"])) for _ in range(count)),  # type: ignore[arg-type]
    )


def damage(rng: Rng, batch: ClickBatch) -> ClickBatch:
    """Return the batch, or one with a wrong index, offset or value."""
    kind = rng.random()
    if kind < 0.6:
        return batch
    if kind < 0.8:
        indices = batch.indices.clone()
        if not indices.numel():
            return batch
        indices.view(-1)[int(rng.integers(indices.numel()))] = int(rng.choice([*HUGE, 60]))
        return batch._replace(indices=indices)
    if kind < 0.9 and batch.offsets is not None:
        offsets = batch.offsets.clone()
        offsets[int(rng.integers(len(offsets)))] += int(rng.choice([*HUGE[:-2], 1, 5]))
        return batch._replace(offsets=offsets)
    dense = batch.dense.clone()
    dense.view(-1)[int(rng.integers(dense.numel()))] = float(rng.choice([np.nan, np.inf, 3e38]))
    return batch._replace(dense=dense)


def misshapen(rng: Rng, batch: ClickBatch) -> ClickBatch:
    """Return the batch, or one with a tensor of another length or type."""
    if rng.random() < 0.9:
        return batch
    name = str(rng.choice(["dense", "indices", "labels"]))
    tensor: Tensor = getattr(batch, name)
    changed = tensor[:-1] if rng.random() < 0.5 else tensor.to(torch.float64)
    return batch._replace(**{name: changed})
