"""Time ``quantize --refresh`` beside a whole ``quantize``, for a checkpoint in which 1 % of the rows changed.

Makes a checkpoint with the proportions of the Terabyte tables capped at 40 million rows (dimension 128), an artifact of
it, and the same checkpoint with 1 % of the rows changed: once in runs, as training leaves them where categories are
numbered by frequency, and once scattered. It is saved as training saves it, with the digests of its rows, or with
``--without_digests`` as it was before there were digests. Every command is a process. Its certification is timed inside
and subtracted. The packing of the tables, which is what a refresh saves, is timed as well, and so is the processor time
from start to end, which a busy machine changes less. The new checkpoint is read into the system's cache before each
command, or dropped from it with ``--cold``.

    python benchmarks/refresh.py
    python benchmarks/refresh.py --gb 2 --repeats 3
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import yaml
from large_checkpoint import DIM, MLPS, ROOT, Random, architecture_of, forget, label, write_dataset
from machine import machine
from scratch import scratch_folder

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.embeddings import TABLE_KEY
from dlrm_pl.model.load import load_dlrm, read_checkpoint
from tests.support.files.torch_files import save_sparse

CHANGED_SHARE = 0.01
_RUN_ROWS = 500

# Runs a command of the program, and prints the seconds that it certified and packed for.
_TIMED = """
import sys, time
from dlrm_pl.cli import garbage
garbage.pause()  # As the program does, before it loads anything.
import dlrm_pl.artifact.writing.build as build
from dlrm_pl.quantization.ptq.table_packer import TablePacker
spent = {"certified": 0.0, "packed": 0.0, "certified_cpu": 0.0, "packed_cpu": 0.0}
def timed(function, name):
    def run(*arguments, **options):
        began, began_cpu = time.perf_counter(), time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - began
            spent[f"{name}_cpu"] += time.process_time() - began_cpu
    return run
build.certified = timed(build.certified, "certified")
TablePacker.packed = timed(TablePacker.packed, "packed")
import atexit
@atexit.register
def tell():
    print("certified in", spent["certified"], "of", spent["certified_cpu"], "packed in", spent["packed"])
from dlrm_pl.cli.entry import program
sys.exit(program())
"""


def changed_rows(rows: int, kind: str) -> np.ndarray:
    """Return the numbers of the rows of a table that change."""
    rng = np.random.default_rng(rows)
    count = int(rows * CHANGED_SHARE)
    if kind == "scattered":
        return np.sort(rng.choice(rows, count, replace=False))
    runs = -(-count // _RUN_ROWS)
    starts = np.sort(rng.choice(max(1, rows // _RUN_ROWS), min(runs, max(1, rows // _RUN_ROWS)), replace=False))
    found = (starts[:, None] * _RUN_ROWS + np.arange(_RUN_ROWS)).ravel()
    return found[found < rows][:count]


class Retrained(Random):
    """The rows of ``Random``, of which some were changed."""

    kind = "scattered"

    def write(self, handle: BinaryIO, offset: int) -> None:
        """Write the rows."""
        super().write(handle, offset)
        for row in changed_rows(self.shape[0], self.kind):
            handle.seek(offset + int(row) * 4 * DIM)
            handle.write(np.full(DIM, 0.001 * (row % 97 + 1), np.float32).tobytes())


class RetrainedInRuns(Retrained):
    """The same with runs of changed rows."""

    kind = "in runs"


def write_checkpoint(path: Path, architecture: Architecture, kind: type[Random]) -> None:
    """Write a checkpoint of this package."""
    torch.manual_seed(1 if kind is Random else 2)
    small = DLRM(Architecture((3,) * architecture.num_tables, DIM, **MLPS))
    torch.manual_seed(1)
    first = DLRM(Architecture((3,) * architecture.num_tables, DIM, **MLPS))
    state: dict[str, object] = {}
    for name, tensor in first.state_dict().items():
        # The Linears change a little, as all of them do in training.
        state[f"model.{name}"] = tensor if kind is Random else tensor + 0.001 * small.state_dict()[name]
    for index, rows in enumerate(architecture.table_sizes):
        state[f"model.{TABLE_KEY.format(index)}"] = kind((rows, DIM))
    contents: dict[str, object] = {
        "state_dict": state,
        "epoch": 0,
        "global_step": 1,
        "hyper_parameters": {**architecture.to_dict(), "_instantiator": "pytorch_lightning.cli.instantiate_module"},
    }
    CheckpointContract(architecture, "").write(contents)
    save_sparse(contents, path, "zip")


def save_again(path: Path) -> None:
    """Save a checkpoint as a training does, with digests of its rows."""
    again = path.with_suffix(".again")
    AtomicCheckpointIO().save_checkpoint(read_checkpoint(path), again)
    again.replace(path)


def timed(arguments: list[object]) -> tuple[float, float, float]:
    """Run a command of the program.

    Returns:
        Its seconds without certification, those of the packing, and its processor seconds without certification.
    """
    before, began = processor_of_children(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _TIMED, *map(str, arguments)],
        cwd=ROOT,
        # The program sets this before torch is loaded, which happens earlier here.
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    processor = processor_of_children() - before
    found = re.search(r"certified in ([\d.]+) of ([\d.]+) packed in ([\d.]+)", done.stdout)
    if found is None or not float(found[1]):
        sys.exit(f"{arguments}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return seconds - float(found[1]), float(found[3]), processor - float(found[2])


def processor_of_children() -> float:
    """Return the processor seconds of all commands so far, from their start to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read(path: Path, cold: bool) -> None:
    """Put a file into the system's cache, or drop it from there."""
    if cold:
        forget(path)
        return
    with path.open("rb", buffering=0) as handle:
        buffer = bytearray(1 << 24)
        while handle.readinto(buffer):
            pass


def tables_of(artifact: Path) -> str:
    """Return a checksum of all packed rows of an artifact as they are used."""
    digest = hashlib.sha256()
    for table in load_artifact(artifact, checksums="never").model.tables.all():
        digest.update(table.numpy().data)
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=12.0, help="size of the checkpoint, 10^9 bytes")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn")
    kinds = [RetrainedInRuns.kind, Retrained.kind]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="where the changed rows are")
    parser.add_argument("--cold", action="store_true", help="drop the checkpoint from the cache before each run")
    parser.add_argument(
        "--without_digests", action="store_true", help="leave the digests of rows out of the checkpoint"
    )
    parser.add_argument("--folder", type=Path, help="parent of the temporary folder; default: the system's")
    options = parser.parse_args()
    results: dict[str, dict[str, object]] = {}
    with scratch_folder(options.folder) as temporary:
        folder = Path(temporary)
        architecture = architecture_of(options.gb * 1e9)
        if shutil.disk_usage(folder).free < 3.6 * options.gb * 1e9:
            sys.exit(
                f"{folder}: {3.6 * options.gb:.0f} GB of disk are needed. Give a smaller --gb, or another --folder."
            )
        checkpoint, data, base = folder / "model.ckpt", folder / "data", folder / "first"
        write_checkpoint(checkpoint, architecture, Random)
        write_dataset(data, architecture.table_sizes)
        label(data, load_dlrm(checkpoint))
        config = {
            "seed_everything": 1,
            "data": {"folder": str(data), "eval_batch_size": 2048},
            "trainer": {"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        shared = ["quantize", "-c", folder / "config.yaml", "--relative", 0.05, "--overwrite", "--ckpt_path"]
        timed([*shared, checkpoint, "--output", base])
        checkpoint.unlink()
        for kind in (each for each in (RetrainedInRuns, Retrained) if each.kind in options.kinds):
            write_checkpoint(checkpoint, architecture, kind)
            if not options.without_digests:
                save_again(checkpoint)
            subprocess.run(["sync", checkpoint], check=True)
            whole, refreshed = folder / "whole", folder / "second"
            seconds: dict[str, list[float]] = {"quantize": [], "refresh": []}
            packing: dict[str, list[float]] = {"quantize": [], "refresh": []}
            processor: dict[str, list[float]] = {"quantize": [], "refresh": []}
            for _ in range(options.repeats):
                for name, output, more in (
                    ("quantize", whole, []),
                    ("refresh", refreshed, ["--refresh", base]),
                ):
                    read(checkpoint, options.cold)
                    whole_s, packing_s, processor_s = timed([*shared, checkpoint, "--output", output, *more])
                    seconds[name].append(whole_s)
                    processor[name].append(processor_s)
                    packing[name].append(packing_s)
            manifest = load_artifact(refreshed, checksums="never").manifest
            changed = sum(len(changed_rows(rows, kind.kind)) for rows in architecture.table_sizes)
            row_bytes = manifest.table_bytes / sum(architecture.table_sizes)
            delta = sum(path.stat().st_size for path in folder.joinpath("second.delta").iterdir())
            medians = {name: statistics.median(values) for name, values in seconds.items()}
            packed = {name: statistics.median(values) for name, values in packing.items()}
            busy = {name: statistics.median(values) for name, values in processor.items()}
            results[kind.kind] = {
                "quantize_s": [round(value, 2) for value in seconds["quantize"]],
                "refresh_s": [round(value, 2) for value in seconds["refresh"]],
                "share_of_quantize": round(medians["refresh"] / medians["quantize"], 3),
                "processor_s": {name: [round(value, 2) for value in values] for name, values in processor.items()},
                "share_of_processor": round(busy["refresh"] / busy["quantize"], 3),
                "packing_s": {name: [round(value, 2) for value in values] for name, values in packing.items()},
                "share_of_packing": round(packed["refresh"] / packed["quantize"], 3),
                "changed_rows": changed,
                "delta_bytes": delta,
                "delta_of_changed_bytes": round(delta / (changed * row_bytes), 2),
                "same_tables": tables_of(whole) == tables_of(refreshed),
            }
            print(f"{kind.kind}: {results[kind.kind]}", flush=True)
            shutil.rmtree(whole)
            shutil.rmtree(refreshed)
    digests = not options.without_digests
    print(json.dumps({"gb": options.gb, "cold": options.cold, "digests": digests, **results, "machine": machine()}))


if __name__ == "__main__":
    main()
