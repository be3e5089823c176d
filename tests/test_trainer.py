"""Checkpoints and the Trainer: what is copied, what is not, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import run_ranks

from dlrm_pl.data.datamodule import TerabyteDataModule
from dlrm_pl.model.checkpoint import load_module
from dlrm_pl.model.lightning_module import DLRMModule, weights_come_later
from dlrm_pl.trainer import DLRMTrainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def module(data: TerabyteDataModule, dim: int = 4, **options: object) -> DLRMModule:
    torch.manual_seed(0)
    return DLRMModule(data.table_sizes, embedding_dim=dim, bottom_mlp=(13, dim), top_mlp=(1,), **options)  # type: ignore[arg-type]


def trainer(**options: object) -> DLRMTrainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return DLRMTrainer(accelerator="cpu", enable_checkpointing=False, **(quiet | options))


@pytest.fixture
def data(synthetic_folder: Path) -> TerabyteDataModule:
    return TerabyteDataModule(str(synthetic_folder), batch_size=500, shuffle="none")


@pytest.fixture
def saved(data: TerabyteDataModule, tmp_path: Path) -> Path:
    first = trainer(max_steps=4)
    first.fit(module(data), datamodule=data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_training_goes_on_in_a_map_as_in_memory(
    data: TerabyteDataModule, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = module(data)
    trainer(max_steps=8).fit(whole, datamodule=data)
    before = saved.read_bytes()
    with weights_come_later():
        resumed = module(data)
    with caplog.at_level(logging.INFO, logger="dlrm_pl"):
        trainer(max_steps=8).fit(resumed, datamodule=data, ckpt_path=str(saved))
    assert "GiB stay in" in caplog.text
    for (name, weight), expected in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=0, msg=name)
    assert saved.read_bytes() == before


def test_scoring_leaves_the_weights_in_the_file(data: TerabyteDataModule, saved: Path) -> None:
    with weights_come_later():
        loaded = module(data)
    (scores,) = trainer().test(loaded, datamodule=data, ckpt_path=str(saved), verbose=False)
    usual = load_module(saved)
    (expected,) = trainer().test(usual, datamodule=data, verbose=False)
    assert scores == expected
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(saved))]
    ranges = [[int(end, 16) for end in line[0].split("-")] for line in maps]
    for parameter in loaded.model.parameters():
        assert any(begin <= parameter.data_ptr() < end for begin, end in ranges)


def write_in_place(loaded: DLRMModule, data: TerabyteDataModule) -> None:
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.mul_(2)


def load_other_weights(loaded: DLRMModule, data: TerabyteDataModule) -> None:
    loaded.load_state_dict(module(data).state_dict())


def train(loaded: DLRMModule, data: TerabyteDataModule) -> None:
    trainer(max_steps=2).fit(loaded, datamodule=data)


def pack_in_place(loaded: DLRMModule, data: TerabyteDataModule) -> None:
    torch.nn.utils.vector_to_parameters(torch.ones(sum(map(torch.numel, loaded.parameters()))), loaded.parameters())


@pytest.mark.parametrize("write", [write_in_place, load_other_weights, train, pack_in_place])
def test_weights_that_were_loaded_to_be_scored_may_be_written_to(
    data: TerabyteDataModule, saved: Path, write: Callable[[DLRMModule, TerabyteDataModule], None]
) -> None:
    """What a read-only map would end the process for; the file stays as it is."""
    loaded, content = module(data), saved.read_bytes()
    trainer().validate(loaded, datamodule=data, ckpt_path=str(saved), verbose=False)
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    write(loaded, data)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())
    assert saved.read_bytes() == content


@pytest.mark.slow
def test_ranks_score_what_one_process_scores(data: TerabyteDataModule, saved: Path, tmp_path: Path) -> None:
    """Lightning gives the first rank's weights to the others: in place, which a read-only map ended the process for."""
    scores = []
    for stage in ("validate", "test"):
        scores += getattr(trainer(), stage)(module(data), datamodule=data, ckpt_path=str(saved), verbose=False)
    (tmp_path / "expected.json").write_text(json.dumps(scores))
    program = _RANKS.format(folder=str(data.folder.path), saved=str(saved), expected=str(tmp_path / "expected.json"))
    run_ranks(program, tmp_path)


@pytest.mark.slow
def test_a_model_larger_than_memory_is_scored(tmp_path: Path) -> None:
    """Under a limit of memory that is a twentieth of the tables, which are a sparse file."""
    (tmp_path / "program.py").write_text(_LARGE)
    subprocess.run([sys.executable, tmp_path / "program.py", tmp_path], check=True, timeout=600)


_RANKS = """
import json
from pathlib import Path
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from dlrm_pl.data.datamodule import TerabyteDataModule
from dlrm_pl.model.lightning_module import DLRMModule, weights_come_later
from dlrm_pl.trainer import DLRMTrainer

class Joined(LightningEnvironment):
    creates_processes_externally = True

def trainer(**options):
    environment = Joined()
    environment.local_rank = lambda: rank
    strategy = DDPStrategy(cluster_environment=environment, process_group_backend="gloo")
    return DLRMTrainer(accelerator="cpu", devices=2, strategy=strategy, logger=False, enable_progress_bar=False,
                       enable_model_summary=False, enable_checkpointing=False, **options)

data = TerabyteDataModule({folder!r}, batch_size=500, shuffle="none")
def module():
    torch.manual_seed(rank)
    return DLRMModule(data.table_sizes, embedding_dim=4, bottom_mlp=(13, 4), top_mlp=(1,))

def pages_written():
    maps = [part.splitlines()[:20] for part in Path("/proc/self/smaps").read_text().split({saved!r})[1:]]
    return sum(int(line.split()[1]) for lines in maps for line in lines if line.startswith("Anonymous"))

scores = []
for stage in ("validate", "test"):
    loaded = module()
    scores += getattr(trainer(), stage)(loaded, datamodule=data, ckpt_path={saved!r}, verbose=False)
    assert pages_written() == 0
for found, expected in zip(scores, json.loads(Path({expected!r}).read_text()), strict=True):
    # Sums of a share each are rounded otherwise than one of all rows.
    assert all(abs(found[name] / value - 1) < 1e-9 for name, value in expected.items()), (found, expected)
# Without a checkpoint, the first rank's weights are those of all.
made = module()
trainer().validate(made, datamodule=data, verbose=False)
torch.manual_seed(0)
expected = DLRMModule(data.table_sizes, embedding_dim=4, bottom_mlp=(13, 4), top_mlp=(1,))
assert all(torch.equal(a, b) for a, b in zip(made.parameters(), expected.parameters(), strict=True))
# Training goes on from a checkpoint alike on all ranks, though nobody sends its tables around.
with weights_come_later():
    resumed = module()
trainer(max_steps=6, num_sanity_val_steps=0).fit(resumed, datamodule=data, ckpt_path={saved!r})
for tensor in resumed.state_dict().values():
    dist.broadcast(first := tensor.clone(), 0)
    assert torch.equal(first, tensor)
"""


_LARGE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from dlrm_pl.data.datamodule import TerabyteDataModule
from dlrm_pl.data.synthetic import synthesize
from dlrm_pl.model.lightning_module import DLRMModule, weights_come_later
from dlrm_pl.trainer import DLRMTrainer

folder = Path(sys.argv[1])
synthesize(folder / "data", rows=3000, days=2, seed=1, label_rate=0.3, best_auroc=0.8, max_table_size=50)
for path in (folder / "data").glob("day_fea_dict*"):
    path.unlink()
(folder / "data" / "dataset.json").unlink()
counts = np.load(folder / "data" / "day_fea_count.npz")["counts"]
counts[:2] = 40_000_000
np.savez(folder / "data" / "day_fea_count.npz", counts=counts)
data = TerabyteDataModule(str(folder / "data"), batch_size=100)
shape = {"embedding_dim": 128, "bottom_mlp": (13, 128), "top_mlp": (1,)}
with weights_come_later():
    module = DLRMModule(data.table_sizes, **shape)
shapes = {name: weight.shape for name, weight in module.state_dict().items()}
with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
    state = {name: torch.empty(size) for name, size in shapes.items()}
    checkpoint = {"state_dict": state, "hyper_parameters": dict(module.hparams), "epoch": 0, "global_step": 0,
                  "pytorch-lightning_version": "2.6.6", "optimizer_states": [], "lr_schedulers": []}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "large.ckpt")
assert (folder / "large.ckpt").stat().st_size > 40e9
limit = (folder / "large.ckpt").stat().st_size + (2 << 30)  # The map may be written to, and so counts.
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
           "enable_checkpointing": False}
DLRMTrainer(**options).test(module, datamodule=data, ckpt_path=str(folder / "large.ckpt"), verbose=False)
assert module.model.embedding_bags.weights()[0].shape[0] == 40_000_000
"""
