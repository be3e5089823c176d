"""Measure the AUROC drop of row-wise quantized tables: our row layout, and that of PyTorch and FBGEMM.

Everything but the tables stays fp32, so that nothing else changes the AUROC. It needs a trained checkpoint.

    python benchmarks/row_layouts.py --ckpt_path runs/quickstart/model.ckpt --data datasets/quickstart
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from machine import machine

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.export.fbgemm_layouts import fused_row_bytes, pack_fused
from dlrm_pl.metrics.paired import paired_auroc_difference
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import EmbeddingBags
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.quantization.ptq.quantize import table_packer
from dlrm_pl.runtime.tables import PackedTables, row_bytes


def scores(model: DLRM, dataset: ClickDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels of all rows."""
    found, labels = [], []
    with torch.inference_mode():
        for batch in dataset.batches(16384):
            found.append(model(batch).numpy())
            labels.append(batch.labels.numpy())
    return np.concatenate(found), np.concatenate(labels)


def with_fbgemm_rows(model: DLRM, bits: int) -> DLRM:
    """Return the model with tables quantized in the layout of PyTorch and FBGEMM."""
    ops = torch.ops.quantized
    unpack = ops.embedding_bag_byte_unpack if bits == 8 else ops.embedding_bag_4bit_unpack
    bags = EmbeddingBags(model.architecture.table_sizes, model.architecture.embedding_dim)
    for table, weight in zip(bags.weights(), model.embedding_bags.weights(), strict=True):  # type: ignore[operator]
        table.copy_(unpack(pack_fused(weight, bits)))  # type: ignore[arg-type]
    return DLRM.from_parts(model.architecture, model.bottom_mlp, bags, model.top_mlp)


def own(model: DLRM, dtype: str) -> DLRM:
    """Return the model with tables quantized in our own layout."""
    architecture = model.architecture
    dtypes = (dtype,) * architecture.num_tables
    tables = PackedTables(table_packer(model).packed(dtypes), dtypes, architecture.embedding_dim)  # type: ignore[arg-type]
    return DLRM.from_parts(architecture, model.bottom_mlp, tables, model.top_mlp)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    options = parser.parse_args()
    model = load_dlrm(options.ckpt_path)
    dim = model.architecture.embedding_dim
    folder = DatasetFolder.open(options.data)
    report: dict[str, object] = {}
    for split in options.splits:
        dataset = ClickDataset.of_split(folder, split)
        base, labels = scores(model, dataset)
        print(f"{split}: {len(labels):,} rows, {int(labels.sum()):,} clicks")
        for name, candidate, size in (
            ("int8 symmetric (ours)", own(model, "int8"), row_bytes("int8", dim)),
            ("int8 asymmetric (FBGEMM)", with_fbgemm_rows(model, 8), fused_row_bytes(8, dim)),
            ("int4, whole zero point (ours)", own(model, "int4"), row_bytes("int4", dim)),
            ("int4 asymmetric (FBGEMM)", with_fbgemm_rows(model, 4), fused_row_bytes(4, dim)),
        ):
            drop = paired_auroc_difference(base, scores(candidate, dataset)[0], labels)
            low, high = (bound / drop.first for bound in drop.interval(0.95))
            print(
                f"  {name:<32}{size:>4} bytes a row  AUROC {drop.second:.6f}  drop {drop.difference / drop.first:+.5%} "
                f"(95 % interval {low:+.5%} to {high:+.5%})"
            )
            report[f"{split}, {name}"] = {
                "row_bytes": size,
                "auroc": drop.second,
                "drop_relative": drop.difference / drop.first,
                "interval": [low, high],
            }
    print(json.dumps({"layouts": report, "machine": machine()}))


if __name__ == "__main__":
    main()
