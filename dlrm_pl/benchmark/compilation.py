"""Float models in the form in which torch.compile makes them fastest: frozen constants, lookups by ``F.embedding``."""

from __future__ import annotations

import logging
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.benchmark.unavailable import UnavailableError
from dlrm_pl.model.dlrm import DLRM


class Float(nn.Module):
    """A float DLRM in its own dtype that takes float32 dense features."""

    def __init__(self, model: DLRM) -> None:
        super().__init__()
        self.model = model
        self.dtype = next(model.parameters()).dtype

    def forward(self, batch: ClickBatch) -> Tensor:
        """Compute the logits ``[B]``, float32."""
        logits: Tensor = self.model(batch._replace(dense=batch.dense.to(self.dtype)))
        return logits


class FloatForCompiler(Float):
    """A float DLRM that computes the same logits in the form that Inductor compiles to the fastest code.

    It stacks the dense vector and the embeddings once instead of twice, and has the positions of the pairs as a
    constant. Compiled, it was measured 1.2 times (batch 2048) to 1.6 times (16384) as fast as the model's own forward
    pass.
    """

    def __init__(self, model: DLRM) -> None:
        super().__init__(model)
        architecture = model.architecture
        self._plain = architecture.interaction == "dot" and architecture.loss_threshold == 0
        vectors = architecture.num_tables + 1
        row, column = torch.tril_indices(vectors, vectors, offset=0 if architecture.self_interaction else -1)
        self.register_buffer("pairs", row * vectors + column)

    def forward(self, batch: ClickBatch) -> Tensor:
        """Compute the logits ``[B]``, float32."""
        if batch.offsets is not None or not self._plain:
            return super().forward(batch)
        tables = list(self.model.embedding_bags.parameters())
        dense = self.model.bottom_mlp(batch.dense.to(self.dtype))
        vectors = torch.stack([dense, *(F.embedding(batch.indices[t], table) for t, table in enumerate(tables))], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self.get_buffer("pairs"))
        logits: Tensor = self.model.top_mlp(torch.cat([dense, products], dim=1)).squeeze(1)
        return logits.float()


class CompilationError(UnavailableError):
    """torch.compile does not work on this machine; the message says why."""


def compile_for(model: nn.Module, batch: ClickBatch, *, max_autotune: bool = False) -> Scorer:
    """Compile a model for one batch size and the current number of threads, and run it once.

    Args:
        model: model whose forward pass is compiled; its parameters are referenced.
        batch: example batch of the size to compile for.
        max_autotune: see ``compile_module``.

    Raises:
        CompilationError: there is no C++ compiler, or it fails.
    """
    # Bags are split at positions that are only known from the values of their offsets, which breaks the graph.
    return compile_module(model, batch, fullgraph=batch.offsets is None, max_autotune=max_autotune)


def compile_module(
    model: nn.Module, *inputs: Any, fullgraph: bool = True, max_autotune: bool = False
) -> Callable[..., Any]:
    """Compile a module for the shapes of its inputs and the current number of threads, and run it once.

    Call it in inference mode: only then are parameters frozen, that is, packed once for the kernels that read them.

    Args:
        model: model whose forward pass is compiled; its parameters are referenced.
        inputs: inputs of the forward pass.
        fullgraph: whether the forward pass can be compiled as a whole.
        max_autotune: let Inductor time several kernels for each Linear, which takes up to a minute.

    Raises:
        CompilationError: there is no C++ compiler, or it fails.
    """
    compiled: Callable[..., Any] = torch.compile(_own_forward(model), dynamic=False, fullgraph=fullgraph)
    # Otherwise, a graph break is logged for every table at each compilation.
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    # Imported here, because they take seconds to load and only compilation needs them.
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config

    try:
        # Settings must also be in effect while the model is traced. Those passed to torch.compile as `options` are not,
        # and freezing then packs nothing.
        with warnings.catch_warnings(), config.patch(freezing=True, max_autotune=max_autotune):
            # Inductor uses functions that torch deprecates; users can do nothing about it.
            warnings.simplefilter("ignore")
            compiled(*inputs)
    except TorchDynamoException as error:
        # The first line only names the backend that raised.
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "raised:" not in line]
        reason = lines[0] if lines else type(error).__name__
        raise CompilationError(f"torch.compile failed; it needs a working C++ compiler: {reason}") from error
    return compiled


def _own_forward(model: nn.Module) -> Callable[..., Any]:
    """Return the forward pass of a module as a method with a code object of its own.

    torch.compile caches its results with the code object, which all modules of a class share: each module would have to
    check the guards of the others, and the eighth would run eagerly. torch._dynamo.reset() would also discard results
    that others still use.
    """
    forward = type(model).forward
    own = types.FunctionType(
        forward.__code__.replace(), forward.__globals__, forward.__name__, forward.__defaults__, forward.__closure__
    )
    return types.MethodType(own, model)
