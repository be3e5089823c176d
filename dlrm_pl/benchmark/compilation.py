"""Float models as torch.compile is fastest with them: constants frozen, lookups by ``F.embedding``."""

from __future__ import annotations

import logging
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.timer import Scorer
from dlrm_pl.model.dlrm import DLRM


class Float(nn.Module):
    """A float DLRM in its own dtype, float32 dense features in."""

    def __init__(self, model: DLRM) -> None:
        super().__init__()
        self.model = model
        self.dtype = next(model.parameters()).dtype

    def forward(self, batch: ClickBatch) -> Tensor:
        """Logits ``[B]``, float32."""
        logits: Tensor = self.model(batch._replace(dense=batch.dense.to(self.dtype)))
        return logits


class FloatForCompiler(Float):
    """A float DLRM that computes the same logits in the form that Inductor compiles to the fastest code.

    One stack of the dense vector and the embeddings instead of two, and the positions of the pairs as a constant:
    measured 1.2 times (batch 2048) to 1.6 times (16384) as fast, compiled, as the model's own forward pass.
    """

    def __init__(self, model: DLRM) -> None:
        super().__init__(model)
        architecture = model.architecture
        self._plain = architecture.interaction == "dot" and architecture.loss_threshold == 0
        vectors = architecture.num_tables + 1
        row, column = torch.tril_indices(vectors, vectors, offset=0 if architecture.self_interaction else -1)
        self.register_buffer("pairs", row * vectors + column)

    def forward(self, batch: ClickBatch) -> Tensor:
        """Logits ``[B]``, float32."""
        if batch.offsets is not None or not self._plain:
            return super().forward(batch)
        tables = list(self.model.embedding_bags.parameters())
        dense = self.model.bottom_mlp(batch.dense.to(self.dtype))
        vectors = torch.stack([dense, *(F.embedding(batch.indices[t], table) for t, table in enumerate(tables))], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self.get_buffer("pairs"))
        logits: Tensor = self.model.top_mlp(torch.cat([dense, products], dim=1)).squeeze(1)
        return logits.float()


class CompilationError(Exception):
    """torch.compile does not work on this machine; the message says why."""


def compile_for(model: nn.Module, batch: ClickBatch) -> Scorer:
    """Compile a model for one batch size and the threads that are set now, and run it once.

    Call it in inference mode: only then are parameters frozen. ``max_autotune`` is left off: it takes half a minute a
    batch size and was 0.9 to 1.1 times as fast.

    Args:
        model: its forward pass is compiled; its parameters are referenced.
        batch: of the size to compile for.

    Raises:
        CompilationError: no C++ compiler, or one that fails.
    """
    # Compile each batch size from scratch; without this the eighth would silently run eagerly.
    torch._dynamo.reset()
    compiled = torch.compile(model, dynamic=False, fullgraph=batch.offsets is None, options={"freezing": True})
    # Bags are cut at numbers that only their offsets have, which is told for every table at each compilation.
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    # Here, since it takes seconds that only a compilation needs.
    from torch._dynamo.exc import TorchDynamoException

    try:
        with warnings.catch_warnings():
            # Inductor uses functions that torch deprecates; a user can do nothing about it.
            warnings.simplefilter("ignore")
            compiled(batch)
    except TorchDynamoException as error:
        # The first line only says which backend raised.
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "raised:" not in line]
        reason = lines[0] if lines else type(error).__name__
        raise CompilationError(f"torch.compile failed, it needs a working C++ compiler: {reason}") from error
    return compiled
