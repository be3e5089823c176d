"""Import, quantize and verify a checkpoint of upstream (facebookresearch/dlrm) that is larger than the memory limit.

Makes a checkpoint in upstream's format with the proportions of the Terabyte tables capped at 40 million rows
(dimension 128) and a small dataset for it, whose labels follow the model. Then runs the commands as a user would, each
in a process of limited memory (``RLIMIT_DATA``, without mapped files), and copies the file for comparison.
The pages of a source are dropped from the system's cache before each step that reads it.

    python benchmarks/large_checkpoint.py
    python benchmarks/large_checkpoint.py --gb 90 --sparse
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import yaml
from machine import machine
from scratch import scratch_folder
from startup import TABLE_SIZES

from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.loading.dataset import ClickDataset
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import TABLE_KEY
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.model.parameter_names import to_upstream

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.support.files.torch_files import Sparse, save_sparse  # noqa: E402 (the one place that writes torch's formats at any size)

DIM = 128
MLPS = {"bottom_mlp": (13, 512, 256, DIM), "top_mlp": (1024, 1024, 512, 256, 1)}
ROWS = {"train": 2048, "val": 20_000, "test": 20_000}
_BLOCK_ROWS = 1 << 16

_PACK = """
import sys, time
from pathlib import Path
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.model.checkpoints.checksum import parameter_checksums
from dlrm_pl.quantization.ptq.quantize import table_packer
model = load_dlrm(Path(sys.argv[1]))
checksums = parameter_checksums(model, model.weights_file.tensors) if sys.argv[3] == "summed" else None
packer = table_packer(model, Path(sys.argv[2]), checksums=checksums)
began = time.perf_counter()
packer.packed(("int8",) * model.architecture.num_tables)
print(time.perf_counter() - began)
"""


class Random(Sparse):
    """A table of random rows that is written block by block."""

    def write(self, handle: BinaryIO, offset: int) -> None:
        """Write the rows."""
        rng = np.random.default_rng(self.shape[0])
        block = rng.standard_normal((min(_BLOCK_ROWS, self.shape[0]), self.shape[1]), dtype=np.float32) * 0.1
        handle.seek(offset)
        for start in range(0, self.shape[0], _BLOCK_ROWS):
            # Reuse the numbers in another order: making new ones takes longer than writing them.
            rows = np.roll(block, start // _BLOCK_ROWS, axis=1)[: self.shape[0] - start]
            handle.write(rows.tobytes())


@dataclass(frozen=True)
class Step:
    """Time and memory of a command."""

    seconds: float
    peak_anonymous_mb: float
    output: str


def run(command: Sequence[str], limit_bytes: int, mapped_bytes: int = 0) -> Step:
    """Run a command under the limit; its memory without mapped files is read every few milliseconds.

    Mappings may be writable, and the system then counts them towards the limit, to which ``mapped_bytes`` are added.
    """
    limit_bytes += mapped_bytes
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes)),
    )
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            found = [int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem"))]
            peak = max(peak, sum(found))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, error = process.communicate()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}\n{output}\n{error}")
    return Step(time.perf_counter() - began, peak / 1024, output)


def cli(*arguments: object) -> list[str]:
    """Return the command line of a command of this package."""
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


def forget(path: Path) -> None:
    """Write a file's pages to disk and drop them from the system's cache."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def architecture_of(size_bytes: float) -> Architecture:
    """Return MLPerf's architecture with tables scaled to a size."""
    scale = size_bytes / (4 * DIM * sum(TABLE_SIZES))
    return Architecture(tuple(max(3, int(rows * scale)) for rows in TABLE_SIZES), DIM, **MLPS)


def write_upstream(path: Path, architecture: Architecture, kind: str, *, sparse: bool) -> None:
    """Write a file as upstream's ``--save-model`` does."""
    torch.manual_seed(1)
    small = DLRM(Architecture((3,) * architecture.num_tables, DIM, **MLPS))
    state: dict[str, object] = dict(to_upstream(small.state_dict()))
    for index, rows in enumerate(architecture.table_sizes):
        state[f"emb_l.{index}.weight"] = (Sparse if sparse else Random)((rows, DIM))
    contents = {"epoch": 0, "iter": 100, "train_loss": 0.12, "test_acc": 0.96, "state_dict": state}
    save_sparse(contents, path, kind)


def write_huge(path: Path) -> None:
    """Write a checkpoint of this package with the tables of the whole Terabyte model, as a sparse file."""
    architecture = Architecture(TABLE_SIZES, DIM, **MLPS)
    small = DLRM(Architecture((3,) * architecture.num_tables, DIM, **MLPS))
    state: dict[str, object] = {f"model.{name}": tensor for name, tensor in small.state_dict().items()}
    for index, rows in enumerate(TABLE_SIZES):
        state[f"model.{TABLE_KEY.format(index)}"] = Sparse((rows, DIM))
    contents: dict[str, object] = {"state_dict": state, "epoch": 0, "global_step": 1}
    CheckpointContract(architecture, "").write(contents)
    save_sparse(contents, path, "zip")


def write_dataset(folder: Path, sizes: Sequence[int]) -> None:
    """Write random rows of all tables as a dataset folder in MLPerf's format; labels come later."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    np.savez(folder / "day_fea_count.npz", counts=np.array(sizes))
    for split, rows in ROWS.items():
        records = np.empty((rows, 40), dtype="<i4")
        records[:, 0] = np.arange(rows) % 5 == 0
        records[:, 1:14] = rng.integers(0, 100, (rows, 13))
        records[:, 14:] = rng.integers(0, np.array(sizes), (rows, len(sizes)))
        (folder / split_file_name(split)).write_bytes(records.tobytes())  # type: ignore[arg-type]


def label(folder: Path, model: DLRM) -> None:
    """Draw labels from the model's own scores, so that its AUROC is above one half."""
    rng = np.random.default_rng(3)
    for split in ROWS:
        path = folder / split_file_name(split)  # type: ignore[arg-type]
        dataset = ClickDataset.of_split(DatasetFolder.open(folder), split)  # type: ignore[arg-type]
        with torch.inference_mode():
            logits = np.concatenate([model(batch).numpy() for batch in dataset.batches(512)])
        records = np.frombuffer(path.read_bytes(), dtype="<i4").reshape(-1, 40).copy()
        spread = (logits - logits.mean()) / max(logits.std(), 1e-12)
        records[:, 0] = rng.random(len(records)) < 1 / (1 + np.exp(1.5 - 2 * spread))
        path.write_bytes(records.tobytes())


def copy_seconds(source: Path, target: Path) -> float:
    """Measure the speed of the disk: read the whole file, write it and force it to disk."""
    forget(source)
    began = time.perf_counter()
    subprocess.run(["cp", "--sparse=never", "--reflink=never", source, target], check=True)
    with target.open("rb") as handle:
        os.fsync(handle.fileno())
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=12.0, help="size of the checkpoint, 10^9 bytes")
    parser.add_argument("--limit_gb", type=float, default=3.0, help="memory of each process, 2^30 bytes")
    parser.add_argument("--format", choices=["zip", "legacy"], default="legacy", help="legacy: before torch 1.6")
    parser.add_argument("--sparse", action="store_true", help="write tables of zeros, which take no disk space")
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; default: the system's")
    options = parser.parse_args()
    limit = int(options.limit_gb * 2**30)
    with scratch_folder(options.folder) as temporary:
        folder = Path(temporary)
        size = options.gb * 1e9
        wanted = 2.4 * size if options.sparse else 3.4 * size
        if shutil.disk_usage(folder).free < wanted:
            sys.exit(f"{folder}: {wanted / 1e9:.0f} GB of disk are needed. Give a smaller --gb, or another --folder.")
        architecture = architecture_of(size)
        upstream, checkpoint, artifact = folder / "upstream.pt", folder / "model.ckpt", folder / "artifact"
        write_upstream(upstream, architecture, options.format, sparse=options.sparse)
        data = folder / "data"
        write_dataset(data, architecture.table_sizes)
        print(f"{upstream.stat().st_size / 1e9:.2f} GB, {sum(architecture.table_sizes):,} rows", flush=True)

        copies = [] if options.sparse else [copy_seconds(upstream, folder / "copy")]
        steps: dict[str, Step] = {}
        forget(upstream)
        counts = ("--counts", data / "day_fea_count.npz")
        steps["import"] = run(cli("import-checkpoint", "--upstream", upstream, "--output", checkpoint, *counts), limit)
        size_gb = upstream.stat().st_size / 1e9
        upstream.unlink()
        label(data, load_dlrm(checkpoint))
        if not options.sparse:
            copies.append(copy_seconds(checkpoint, folder / "copy"))
        maps = checkpoint.stat().st_size * 3 // 2  # With int8 tables, those of the search and those of the artifact.
        for name, kind in (("pack", "summed"), ("pack without checksums", "plain")):
            forget(checkpoint)
            (folder / "packed").mkdir()
            command = [sys.executable, "-c", _PACK, str(checkpoint), str(folder / "packed"), kind]
            steps[name] = run(command, limit, maps)
            shutil.rmtree(folder / "packed")
        write_huge(folder / "huge.ckpt")
        huge_bytes = (folder / "huge.ckpt").stat().st_size
        looks = [run(cli("inspect", folder / "huge.ckpt"), limit, huge_bytes) for _ in range(5)]
        steps["inspect"] = sorted(looks, key=lambda step: step.seconds)[2]
        (folder / "huge.ckpt").unlink()
        config = {
            "seed_everything": 1,
            "data": {"folder": str(data), "eval_batch_size": 2048},
            "trainer": {"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        forget(checkpoint)
        tolerance = ("--relative", 0.01)
        quantize = cli("quantize", "-c", folder / "config.yaml", "--ckpt_path", checkpoint, "--output", artifact)
        steps["quantize"] = run([*quantize, *map(str, tolerance)], limit, maps)
        verify = cli("verify", "--artifact", artifact, "--data", data, "--ckpt_path", checkpoint)
        steps["verify"] = run(verify, limit, maps)
        artifact_bytes = sum(path.stat().st_size for path in artifact.iterdir())
        certificate = json.loads((artifact / "certificate.json").read_text())
    for name, step in steps.items():
        print(f"{name:<24}{step.seconds:>8.1f} s  peak {step.peak_anonymous_mb:>7.1f} MB without mapped files")
    print(f"fp32 AUROC {certificate['fp32']['auroc']:.6f}, int8 {certificate['int8']['auroc']:.6f}")
    pack_s = float(steps["pack"].output)
    copy_s = min(copies) if copies else None
    print(
        json.dumps(
            {
                "checkpoint_gb": round(size_gb, 3),
                "limit_gb": options.limit_gb,
                "peak_rss_mb": round(max(step.peak_anonymous_mb for step in steps.values()), 1),
                "seconds": round(sum(steps[name].seconds for name in ("import", "quantize", "verify")), 2),
                "copy_seconds": copy_s and round(copy_s, 2),
                "artifact_gb": round(artifact_bytes / 1e9, 3),
                "import_seconds": round(steps["import"].seconds, 2),
                "pack_seconds": round(pack_s, 2),
                "pack_seconds_without_checksums": round(float(steps["pack without checksums"].output), 2),
                "inspect_seconds": round(steps["inspect"].seconds, 2),
                "inspected_gb": round(huge_bytes / 1e9, 1),
                "import_throughput_of_copy": copy_s and round(copy_s / steps["import"].seconds, 3),
                "pack_throughput_of_copy": copy_s and round(copy_s / pack_s, 3),
                "accepted": certificate["accepted"],
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
