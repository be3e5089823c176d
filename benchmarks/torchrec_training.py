"""Training steps of TorchRec's own model of DLRM v2 on a CPU, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.cross_net import CrossNet
from dlrm_pl.model.dlrm import DLRM


class TorchRecStep:
    """Forward, backward and update of ``torchrec.models.dlrm.DLRM_DCN``, with a copy of a model's weights.

    Args:
        model: model of ``interaction: dcn`` whose weights it starts from.
        learning_rate: of every step.
        epsilon: of Adagrad.
        fused: whether FBGEMM updates the tables in the backward pass (its exact element-wise Adagrad), as in the
            program of facebookresearch/dlrm, and not torch's Adagrad, from a gradient of whole tables.
    """

    def __init__(self, model: DLRM, learning_rate: float, epsilon: float, *, fused: bool) -> None:
        from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
        from torchrec.models.dlrm import DLRM_DCN, DLRMTrain
        from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection

        shape = model.architecture
        self._names = [f"t{number}" for number in range(shape.num_tables)]

        def configs(sizes: Sequence[int]) -> list[Any]:
            return [
                EmbeddingBagConfig(
                    name=name, embedding_dim=shape.embedding_dim, num_embeddings=rows, feature_names=[name]
                )
                for name, rows in zip(self._names, sizes, strict=True)
            ]

        # The model requires a plain embedding collection; the fused one replaces it afterwards.
        plain = EmbeddingBagCollection(tables=configs([1] * shape.num_tables if fused else shape.table_sizes))
        tables: nn.Module = plain
        inputs, *bottom = shape.bottom_mlp
        network = DLRM_DCN(plain, inputs, bottom, list(shape.top_mlp), shape.cross_layers, shape.cross_rank)
        if fused:
            tables = FusedEmbeddingBagCollection(
                tables=configs(shape.table_sizes),
                optimizer_type=torch.optim.Adagrad,
                optimizer_kwargs={"lr": learning_rate, "eps": epsilon},
                device=torch.device("cpu"),
            )
            network.sparse_arch.embedding_bag_collection = tables
        with torch.no_grad():
            for theirs, ours in self._pairs(network, tables, model):
                theirs.copy_(ours)
        self._train = DLRMTrain(network)
        of_tables = {id(parameter) for parameter in tables.parameters()} if fused else set()
        trained = [parameter for parameter in self._train.parameters() if id(parameter) not in of_tables]
        self._optimizer = torch.optim.Adagrad(trained, lr=learning_rate, eps=epsilon)

    def _pairs(self, network: Any, tables: Any, model: DLRM) -> list[tuple[Tensor, Tensor]]:
        state, crossed = tables.state_dict(), network.inter_arch.crossnet
        pairs = [
            (state[f"embedding_bags.{name}.weight"], mine)
            for name, mine in zip(self._names, model.embedding_bags.parameters(), strict=True)
        ]
        for part, mlp in ((network.dense_arch, model.bottom_mlp), (network.over_arch, model.top_mlp)):
            linears = [[one for one in whole.modules() if isinstance(one, nn.Linear)] for whole in (part, mlp)]
            for a, b in zip(*linears, strict=True):
                pairs += [(a.weight, b.weight), (a.bias, b.bias)]
        assert isinstance(model.cross_net, CrossNet)
        for number, layer in enumerate(model.cross_net.layers):
            pairs += [
                (crossed.V_kernels[number], layer.v.weight),
                (crossed.W_kernels[number], layer.w.weight),
                (crossed.bias[number], layer.w.bias),
            ]
        return pairs

    def prepared(self, batch: ClickBatch) -> Any:
        """Return a multi-hot batch as TorchRec's loaders make it."""
        from torchrec import KeyedJaggedTensor
        from torchrec.datasets.utils import Batch

        assert batch.offsets is not None
        features = KeyedJaggedTensor.from_lengths_sync(self._names, batch.indices, batch.offsets.diff())
        return Batch(batch.dense, features, batch.known_labels)

    def __call__(self, batch: Any) -> float:
        """Train on a prepared batch, and return its loss."""
        self._optimizer.zero_grad()
        loss, _ = self._train(batch)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())
