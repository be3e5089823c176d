"""A snapshot of five gigabytes, with one table cut by columns and one by rows, is imported in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.commands import ROOT

pytestmark = pytest.mark.slow

ROWS, WIDTH = 10_000_000, 64
TABLES = "sparse_arch.embedding_bag_collection.embedding_bags"
# Runs in its own process, whose memory is limited to 256 MiB beyond what the libraries take.
LIMITED = """
import resource, sys
from pathlib import Path
import torch
from dlrm_pl.model.upstream.opening import open_foreign
from dlrm_pl.model.upstream.torchrec.exporting import export_torchrec
source, ours, back = map(Path, sys.argv[1:])
torch.set_num_threads(1)
used = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")][0] << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (256 << 20),) * 2)
try:
    torch.empty(300 << 20, dtype=torch.uint8)
except RuntimeError:
    pass
else:
    sys.exit("the limit has no effect")
open_foreign(source).write(ours)
export_torchrec(ours, back)
"""


def entry(folder: Path, name: str, shape: list[int], values: dict[int, torch.Tensor]) -> dict[str, object]:
    """Write a file of zeros except for some rows, mostly a hole; returns its entry in the manifest."""
    with (folder / name).open("wb") as handle:
        row_bytes = 4 * shape[-1]
        handle.truncate(row_bytes * (shape[0] if len(shape) == 2 else 1))
        for row, numbers in values.items():
            handle.seek(row * row_bytes)
            handle.write(numbers.numpy().tobytes())
    return {
        **{"type": "Tensor", "location": name, "serializer": "buffer_protocol", "dtype": "torch.float32"},
        **{"shape": shape, "replicated": False, "byte_range": None},
    }


def test_five_gigabytes_are_imported_and_exported_in_256_megabytes(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    values = {row: torch.rand(WIDTH) for row in (0, 1, ROWS // 2, ROWS - 1)}
    half = WIDTH // 2
    by_columns = [
        {"offsets": [0, start], "sizes": [ROWS, half]}
        | {"tensor": entry(folder, f"c{start}", [ROWS, half], {r: v[start : start + half] for r, v in values.items()})}
        for start in (half, 0)
    ]
    by_rows = [
        {"offsets": [start, 0], "sizes": [ROWS // 2, WIDTH]}
        | {
            "tensor": entry(
                folder,
                f"r{start}",
                [ROWS // 2, WIDTH],
                {row - start: numbers for row, numbers in values.items() if 0 <= row - start < ROWS // 2},
            )
        }
        for start in (0, ROWS // 2)
    ]
    layers = {
        "dense_arch.model._mlp.0._linear.weight": [WIDTH, 13],
        "dense_arch.model._mlp.0._linear.bias": [WIDTH],
        "inter_arch.crossnet.V_kernels.0": [2, 3 * WIDTH],
        "inter_arch.crossnet.W_kernels.0": [3 * WIDTH, 2],
        "inter_arch.crossnet.bias.0": [3 * WIDTH],
        "over_arch.model.0._mlp.0._linear.weight": [4, 3 * WIDTH],
        "over_arch.model.0._mlp.0._linear.bias": [4],
        "over_arch.model.1.weight": [1, 4],
        "over_arch.model.1.bias": [1],
    }
    manifest: dict[str, object] = {f"0/model/{name}": entry(folder, name, shape, {}) for name, shape in layers.items()}
    for table, shards in (("t_cat_0", by_columns), ("t_cat_1", by_rows)):
        for rank, shard in enumerate(shards):
            manifest[f"{rank}/model/{TABLES}.{table}.weight"] = {"type": "ShardedTensor", "shards": [shard]}
    (folder / ".snapshot_metadata").write_text(json.dumps({"version": "0.1.0", "world_size": 2, "manifest": manifest}))

    ours, back = tmp_path / "ours.ckpt", tmp_path / "back.pt"
    subprocess.run([sys.executable, "-c", LIMITED, folder, ours, back], check=True, timeout=280, cwd=ROOT)
    loaded = torch.load(back, weights_only=True, mmap=True)
    for table in ("t_cat_0", "t_cat_1"):
        weights = loaded[f"{TABLES}.{table}.weight"]
        assert weights.shape == (ROWS, WIDTH)
        for row in (0, 1, 2, ROWS // 2 - 1, ROWS // 2, ROWS - 1):
            assert torch.equal(weights[row], values.get(row, torch.zeros(WIDTH))), (table, row)
