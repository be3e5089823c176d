"""Train with upstream (facebookresearch/dlrm) from a checkout: its module in this process, or its own script.

Run as a program, this file is upstream's script with the two changes that it needs: ``num_samples`` of its reader of
``.bin`` files, which does not exist, and empty modules in place of scikit-learn where that is not installed.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import re
import runpy
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.model.architecture import Architecture

_SCRIPT = "dlrm_s_pytorch"
OPTIMIZERS = ("sgd", "adagrad", "rwsadagrad")


def is_checkout(path: Path) -> bool:
    """Whether a folder is a checkout of upstream."""
    return (path / f"{_SCRIPT}.py").is_file()


class UpstreamStep:
    """Upstream's DLRM and its training step, as its script calls them.

    Args:
        checkout: folder of upstream.
        architecture: of the model; its tables are ``tables``.
        tables: weights of the tables, which are shared with others.
        optimizer: sgd, adagrad or rwsadagrad.
        learning_rate: of every step.
    """

    def __init__(
        self, checkout: Path, architecture: Architecture, tables: Sequence[Tensor], optimizer: str, learning_rate: float
    ) -> None:
        script = imported(checkout)
        numpy = importlib.import_module("numpy")
        self.model: nn.Module = script.DLRM_Net(
            architecture.embedding_dim,
            numpy.array([3] * architecture.num_tables),
            numpy.array(architecture.bottom_mlp),
            numpy.array([architecture.interaction_width, *architecture.top_mlp]),
            arch_interaction_op="dot",
            sigmoid_bot=-1,
            sigmoid_top=len(architecture.top_mlp) - 1,
            loss_function="bce",
        )
        for bag, table in zip(self.model.emb_l, tables, strict=True):  # type: ignore[arg-type]
            bag.num_embeddings, bag.weight = len(table), nn.Parameter(table)
        kinds = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad}
        kind: Any = kinds.get(optimizer) or importlib.import_module("optim.rwsadagrad").RWSAdagrad
        self._optimizer = kind(self.model.parameters(), lr=learning_rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def __call__(self, batch: ClickBatch) -> float:
        """Train on a batch, and return its loss."""
        inputs = self.inputs(batch)
        loss = self.model.loss_fn(self.model(*inputs), batch.known_labels.view(-1, 1))  # type: ignore[operator]
        found = float(loss.detach().cpu().numpy())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return found

    def logits(self, batch: ClickBatch) -> Tensor:
        """Score a batch."""
        with torch.no_grad():
            return torch.logit(self.model(*self.inputs(batch)).double().view(-1))

    def inputs(self, batch: ClickBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return a batch as upstream's reader makes it."""
        offsets = torch.arange(batch.num_samples).reshape(1, -1).repeat(len(batch.indices), 1)
        return batch.dense, offsets, batch.indices


def imported(checkout: Path) -> Any:
    """Import upstream's script as a module."""
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    _stand_ins()
    return importlib.import_module(_SCRIPT)


def _stand_ins() -> None:
    try:
        importlib.import_module("sklearn.metrics")
    except ImportError:  # It would measure accuracy in upstream's own tests, which are not run.
        for name in ("sklearn", "sklearn.metrics"):
            sys.modules[name] = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None))
        sys.modules["sklearn"].metrics = sys.modules["sklearn.metrics"]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Script:
    """Upstream's script with its reader of ``.bin`` files, each time as a process of its own.

    Attributes:
        checkout: folder of upstream.
        data: dataset folder.
        architecture: of the model; the tables come from the dataset.
        optimizer: name of the optimizer.
        learning_rate: before its schedule.
        schedule: its ``--lr-...`` options.
    """

    checkout: Path
    data: Path
    architecture: Architecture
    optimizer: str
    learning_rate: float
    schedule: Mapping[str, int]

    def seconds_a_step(self, batch_size: int, steps: int, environment: Mapping[str, str], folder: Path) -> float:
        """Run two epochs of ``steps`` steps, and return the median time of a step in the second.

        Raises:
            RuntimeError: the script failed; with its output.
        """
        shape = self.architecture
        prints = max(1, steps // 10)
        options = {
            "arch-sparse-feature-size": shape.embedding_dim,
            "arch-mlp-bot": "-".join(map(str, shape.bottom_mlp)),
            "arch-mlp-top": "-".join(map(str, shape.top_mlp)),
            "data-generation": "dataset",
            "data-set": "terabyte",
            "raw-data-file": self.data / "day",
            "processed-data-file": self.data / "terabyte_processed.npz",
            "loss-function": "bce",
            "round-targets": "True",
            "optimizer": self.optimizer,
            "learning-rate": self.learning_rate,
            "mini-batch-size": batch_size,
            "test-mini-batch-size": 16384,
            "num-batches": steps,
            "nepochs": 2,
            "print-freq": prints,
            **self.schedule,
        }
        flags = ("memory-map", "mlperf-logging", "mlperf-bin-loader", "mlperf-bin-shuffle", "print-time")
        command = [sys.executable, str(Path(__file__).resolve()), str(self.checkout.resolve())]
        command += [f"--{name}={value}" for name, value in options.items()] + [f"--{flag}" for flag in flags]
        done = subprocess.run(command, cwd=folder, env=dict(environment), capture_output=True, text=True, check=False)
        times = re.findall(r"it \d+/\d+ of epoch 1, ([\d.]+) ms/it", done.stdout)
        if done.returncode or not times:
            raise RuntimeError(f"upstream's script ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr}")
        return statistics.median(map(float, times)) / 1e3


def _main() -> None:
    if len(sys.argv) < 2 or not is_checkout(Path(sys.argv[1])):
        wants_help = sys.argv[1:2] in (["--help"], ["-h"])
        usage = f"usage: {Path(__file__).name} CHECKOUT [options of CHECKOUT/{_SCRIPT}.py]\n\n{__doc__}"
        print(usage, end="", file=sys.stdout if wants_help else sys.stderr)
        sys.exit(0 if wants_help else 2)
    checkout = Path(sys.argv[1])
    sys.path[:0] = [str(checkout)]
    _stand_ins()
    reader = importlib.import_module("data_loader_terabyte").CriteoBinDataset
    reader.num_samples = property(lambda dataset: dataset.num_entries)
    sys.argv = [str(checkout / f"{_SCRIPT}.py"), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _main()
