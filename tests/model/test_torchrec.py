"""The cross network compared with TorchRec's DLRM v2 on the same weights; importing TorchRec takes seconds."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# Runs in its own process, because TorchRec changes process-wide settings.
PROGRAM = """
import torch
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.models.dlrm import DLRM_DCN
from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM

torch.manual_seed(4)
sizes, dim, batch = (50, 7, 300), 16, 64
shape = Architecture(sizes, dim, (13, 32, dim), (40, 24, 1), interaction="dcn", cross_layers=3, cross_rank=11)
ours = DLRM(shape)
names = [f"t{i}" for i in range(len(sizes))]
tables = EmbeddingBagCollection(tables=[
    EmbeddingBagConfig(name=name, embedding_dim=dim, num_embeddings=rows, feature_names=[name])
    for name, rows in zip(names, sizes)
])
theirs = DLRM_DCN(tables, 13, [32, dim], [40, 24, 1], dcn_num_layers=3, dcn_low_rank_dim=11)
pairs = []
for name, mine in zip(names, ours.embedding_bags.parameters(), strict=True):
    pairs.append((theirs.sparse_arch.embedding_bag_collection.embedding_bags[name].weight, mine))
their_linears = lambda part: [m for m in part.modules() if isinstance(m, torch.nn.Linear)]
for part, mlp in ((theirs.dense_arch, ours.bottom_mlp), (theirs.over_arch, ours.top_mlp)):
    for a, b in zip(their_linears(part), their_linears(mlp), strict=True):
        pairs += [(a.weight, b.weight), (a.bias, b.bias)]
crossed = theirs.inter_arch.crossnet
for i, layer in enumerate(ours.cross_net.layers):
    torch.nn.init.normal_(layer.w.bias)
    pairs += [(crossed.V_kernels[i], layer.v.weight), (crossed.W_kernels[i], layer.w.weight)]
    pairs += [(crossed.bias[i], layer.w.bias)]
with torch.no_grad():
    for a, b in pairs:
        assert a.shape == b.shape
        a.copy_(b)
assert len(pairs) == len(list(ours.parameters())) == len(list(theirs.parameters()))
lengths = torch.randint(0, 6, (len(sizes) * batch,))
counts = lengths.view(len(sizes), batch).sum(1).tolist()
indices = torch.cat([torch.randint(0, rows, (count,)) for rows, count in zip(sizes, counts)])
offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
dense, labels = torch.randn(batch, 13), torch.randint(0, 2, (batch,)).float()
loss = torch.nn.functional.binary_cross_entropy_with_logits
expected = theirs(dense, KeyedJaggedTensor.from_offsets_sync(names, indices, offsets)).squeeze(1)
found = ours(ClickBatch(dense, indices, offsets, labels))
torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
a, b = loss(expected, labels), loss(found, labels)
torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
a.backward(), b.backward()
for theirs_, mine in pairs:
    wanted = mine.grad.to_dense() if mine.grad.is_sparse else mine.grad
    torch.testing.assert_close(theirs_.grad, wanted, rtol=1e-5, atol=1e-6)
print("equal")
"""


def test_forward_loss_and_gradients_equal_torchrecs() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == "equal"
