"""Makes the files beside it: checkpoints of small TorchRec models, written by two processes, and their logits.

Run with torch 2.13.0, torchrec 1.8.0, fbgemm-gpu 1.8.0 and torchsnapshot 0.1.0, from this folder:

    python make.py

``v2_dcp`` is a distributed checkpoint of torch, ``v2_snapshot`` a snapshot of torchsnapshot, ``v1.pt`` a dict with
the state dict of version 1. The tables of the first two are divided by rows, by columns, and not at all.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import column_wise, construct_module_sharding_plan, row_wise, table_wise
from torchrec.distributed.types import ShardingPlan
from torchrec.models.dlrm import DLRM, DLRM_DCN, DLRMTrain
from torchsnapshot import Snapshot

SIZES, DIMENSION, DENSE, BATCH = (5, 3, 4), 8, 3, 6
NAMES = [f"cat_{table}" for table in range(len(SIZES))]
PLACES = {"t_cat_0": row_wise(), "t_cat_1": table_wise(1), "t_cat_2": column_wise(ranks=[0, 1])}


def model(version: int) -> torch.nn.Module:
    """Make a model with seeded weights."""
    torch.manual_seed(version)
    configs = [
        EmbeddingBagConfig(name=f"t_{name}", embedding_dim=DIMENSION, num_embeddings=rows, feature_names=[name])
        for name, rows in zip(NAMES, SIZES, strict=True)
    ]
    tables = EmbeddingBagCollection(configs, device=torch.device("cpu"))
    if version == 1:
        made = DLRM(tables, DENSE, [DIMENSION], [5, 4, 1], dense_device=torch.device("cpu"))
    else:
        made = DLRM_DCN(
            tables,
            DENSE,
            [DIMENSION],
            [5, 1],
            dcn_num_layers=1,
            dcn_low_rank_dim=2,
            dense_device=torch.device("cpu"),
        )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make a batch: dense features, and ids and offsets of bags with 0 to 2 ids."""
    torch.manual_seed(9)
    lengths = torch.randint(0, 3, (len(SIZES), BATCH))
    ids = torch.cat([torch.randint(0, rows, (int(n),)) for rows, n in zip(SIZES, lengths.sum(1), strict=True)])
    return torch.randn(BATCH, DENSE), ids, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.view(-1).cumsum(0)])


def write(rank: int) -> None:
    """Write a process's part of version 2."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "29517"}
    dist.init_process_group("gloo")
    train = DLRMTrain(model(2))
    weights = train.state_dict()
    sharder = EmbeddingBagCollectionSharder()
    tables = train.model.sparse_arch.embedding_bag_collection
    plan = construct_module_sharding_plan(
        tables, PLACES, sharder=sharder, local_size=2, world_size=2, device_type="cpu"
    )
    parallel = DistributedModelParallel(
        train,
        device=torch.device("cpu"),
        plan=ShardingPlan({"model.sparse_arch.embedding_bag_collection": plan}),
        sharders=[sharder],
    )
    for name, value in parallel.state_dict().items():
        for shard in value.local_shards() if hasattr(value, "local_shards") else ():
            (row, column), (rows, columns) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
            shard.tensor.copy_(weights[name][row : row + rows, column : column + columns])
    dcp.save({"model": parallel.state_dict(), "step": 7}, checkpoint_id="v2_dcp")
    Snapshot.take("v2_snapshot", {"model": parallel})
    dist.destroy_process_group()


if __name__ == "__main__":
    for folder in ("v2_dcp", "v2_snapshot"):
        shutil.rmtree(folder, ignore_errors=True)
    torch.multiprocessing.spawn(write, nprocs=2)
    dense, indices, offsets = inputs()
    jagged = KeyedJaggedTensor.from_offsets_sync(NAMES, indices, offsets)
    logits = {f"v{version}": model(version)(dense, jagged).squeeze(1).detach().numpy() for version in (1, 2)}
    np.savez(Path("batch.npz"), dense=dense, indices=indices, offsets=offsets, **logits)
    torch.save({"epoch": 0, "model_state": {f"module.{k}": v for k, v in model(1).state_dict().items()}}, "v1.pt")
