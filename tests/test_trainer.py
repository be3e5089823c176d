"""Checkpoints and the Trainer: what is copied, what is not, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.model.load import load_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init
from dlrm_pl.trainer import DLRMTrainer
from tests.support.processes.ranks import run_ranks
from tests.support.training import click_module, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def trainer(**options: object) -> DLRMTrainer:
    return quiet_trainer(**({"enable_checkpointing": False} | options))


@pytest.fixture
def data(synthetic_folder: Path) -> DLRMDataModule:
    return DLRMDataModule(str(synthetic_folder), batch_size=500, shuffle="none")


@pytest.fixture
def saved(data: DLRMDataModule, tmp_path: Path) -> Path:
    first = trainer(max_steps=4)
    first.fit(click_module(data), datamodule=data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_training_goes_on_in_a_map_as_in_memory(
    data: DLRMDataModule, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = click_module(data)
    trainer(max_steps=8).fit(whole, datamodule=data)
    before = saved.read_bytes()
    with skip_weight_init():
        resumed = click_module(data)
    with caplog.at_level(logging.INFO, logger="dlrm_pl"):
        trainer(max_steps=8).fit(resumed, datamodule=data, ckpt_path=str(saved))
    assert "iB) stay memory-mapped from" in caplog.text
    for (name, weight), expected in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, rtol=0, atol=0, msg=name)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("limits", [{"max_steps": 4}, {"max_steps": 4, "max_epochs": 1}])
def test_an_epoch_that_was_cut_short_goes_on_with_the_rows_that_are_left(
    data: DLRMDataModule, tmp_path: Path, limits: dict[str, int]
) -> None:
    """Lightning considers it finished: it would train nothing more, or continue with the next epoch's order."""
    folder = str(data.folder.path)
    first = trainer(**limits)
    first.fit(click_module(data), datamodule=DLRMDataModule(folder, batch_size=500))
    first.save_checkpoint(tmp_path / "a.ckpt")
    limits["max_steps"] = 8
    whole, resumed = click_module(data), click_module(data)
    trainer(**limits).fit(whole, datamodule=DLRMDataModule(folder, batch_size=500))
    second = trainer(**limits)
    second.fit(resumed, datamodule=DLRMDataModule(folder, batch_size=500), ckpt_path=str(tmp_path / "a.ckpt"))
    assert (second.global_step, second.current_epoch) == (8, 1)
    torch.testing.assert_close(dict(resumed.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)


class _Stop(Callback):
    """Stops the training within an epoch."""

    def on_train_batch_end(self, trainer: object, *_: object) -> None:
        trainer.should_stop = trainer.global_step >= 2  # type: ignore[attr-defined]


@pytest.mark.each_value
@pytest.mark.parametrize(
    "limits",
    [{"max_epochs": 2}, {"max_steps": 6}, {"max_epochs": 2, "max_steps": 9}],
)
@pytest.mark.parametrize(
    ("at", "saved_by"),
    [
        *((4, ending) for ending in ("max_epochs", "max_steps", "epoch_end", "batch_end", "validation")),
        *((2, ending) for ending in ("max_steps", "callback", "batch_end", "validation")),
    ],
)
def test_a_resumed_run_is_one_that_was_not_interrupted(
    data: DLRMDataModule, tmp_path: Path, at: int, saved_by: str, limits: dict[str, int]
) -> None:
    """With max_steps, Lightning ends a finished epoch twice, and keeps its order of rows for the next."""
    options: dict[str, dict[str, object]] = {
        "max_epochs": {"max_epochs": 1},
        "max_steps": {"max_steps": at},
        "callback": {"max_epochs": 1, "callbacks": [_Stop()]},
        "epoch_end": {"callbacks": [ModelCheckpoint(tmp_path, "a", save_on_train_epoch_end=True)]},
        "batch_end": {"callbacks": [ModelCheckpoint(tmp_path, "a", every_n_train_steps=at)]},
        "validation": {"callbacks": [ModelCheckpoint(tmp_path, "a", save_on_train_epoch_end=False)]},
    }
    by_callback = saved_by in ("epoch_end", "batch_end", "validation")
    few: dict[str, object] = {"limit_train_batches": 4, "limit_val_batches": 0}
    if saved_by == "validation":
        few |= {"limit_val_batches": 1, "val_check_interval": at}
    folder = str(data.folder.path)

    def run(ckpt_path: Path | None = None, **given: object) -> tuple[DLRMTrainer, DLRMModule]:
        made, trained = trainer(**(few | given)), click_module(data)
        made.fit(
            trained,
            datamodule=DLRMDataModule(folder, batch_size=200),
            ckpt_path=None if ckpt_path is None else str(ckpt_path),
        )
        return made, trained

    first = options[saved_by]
    if by_callback:
        run(**first, enable_checkpointing=True, **({"max_epochs": 1} if at == 4 else {"max_steps": 3}))
    else:
        run(**first)[0].save_checkpoint(tmp_path / "a.ckpt")
    (whole, expected), (second, resumed) = run(**limits), run(tmp_path / "a.ckpt", **limits)
    assert (second.global_step, second.current_epoch) == (whole.global_step, whole.current_epoch)
    torch.testing.assert_close(dict(resumed.state_dict()), dict(expected.state_dict()), rtol=0, atol=0)


def test_scoring_leaves_the_weights_in_the_file(data: DLRMDataModule, saved: Path) -> None:
    with skip_weight_init():
        loaded = click_module(data)
    (scores,) = trainer().test(loaded, datamodule=data, ckpt_path=str(saved), verbose=False)
    usual = load_checkpoint(saved)
    (expected,) = trainer().test(usual, datamodule=data, verbose=False)
    assert scores == expected
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(saved))]
    ranges = [[int(end, 16) for end in line[0].split("-")] for line in maps]
    for parameter in loaded.model.parameters():
        assert any(begin <= parameter.data_ptr() < end for begin, end in ranges)


def write_in_place(loaded: DLRMModule, data: DLRMDataModule) -> None:
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.mul_(2)


def load_other_weights(loaded: DLRMModule, data: DLRMDataModule) -> None:
    loaded.load_state_dict(click_module(data).state_dict())


def train(loaded: DLRMModule, data: DLRMDataModule) -> None:
    trainer(max_steps=2).fit(loaded, datamodule=data)


def pack_in_place(loaded: DLRMModule, data: DLRMDataModule) -> None:
    torch.nn.utils.vector_to_parameters(torch.ones(sum(map(torch.numel, loaded.parameters()))), loaded.parameters())


@pytest.mark.parametrize("write", [write_in_place, load_other_weights, train, pack_in_place])
def test_weights_that_were_loaded_to_be_scored_may_be_written_to(
    data: DLRMDataModule, saved: Path, write: Callable[[DLRMModule, DLRMDataModule], None]
) -> None:
    """With a read-only map, this would end the process; the file does not change."""
    loaded, content = click_module(data), saved.read_bytes()
    trainer().validate(loaded, datamodule=data, ckpt_path=str(saved), verbose=False)
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    write(loaded, data)
    assert not any(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())
    assert saved.read_bytes() == content


@pytest.mark.parametrize("command", ["fit", "validate", "predict", "quantize"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("best", "the ModelCheckpoint of this Trainer has not saved one yet"),
        ("last", r"there is no file last\*\.ckpt in {folder}; ModelCheckpoint writes one with save_last: true"),
        ("hpc", r"there is no file hpc_ckpt_\*\.ckpt in {folder}"),
    ],
)
def test_a_checkpoint_by_name_that_is_not_there_is_refused(
    data: DLRMDataModule, tmp_path: Path, command: str, name: str, reason: str
) -> None:
    """Lightning would train from scratch, and quantize would ignore a path that is not a file."""
    saving = trainer(default_root_dir=tmp_path, enable_checkpointing=True, callbacks=[ModelCheckpoint(tmp_path)])
    message = f"ckpt_path='{name}': no such checkpoint: {reason.format(folder=tmp_path)}"
    with pytest.raises(ConfigurationError, match=message):
        getattr(saving, command)(click_module(data), datamodule=data, ckpt_path=name)
    assert saving.global_step == 0


@pytest.mark.parametrize("name", ["best", "last", "hpc"])
def test_a_checkpoint_by_name_is_loaded(data: DLRMDataModule, tmp_path: Path, name: str) -> None:
    saving = trainer(
        **{"default_root_dir": tmp_path, "enable_checkpointing": True, "max_steps": 2},
        callbacks=[ModelCheckpoint(tmp_path, save_last=True)],
    )
    trained, other = click_module(data), click_module(data)
    saving.fit(trained, datamodule=data)
    saving.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    saving.validate(other, datamodule=data, ckpt_path=name, verbose=False)
    torch.testing.assert_close(dict(other.state_dict()), dict(trained.state_dict()), rtol=0, atol=0)


def test_quantize_reads_no_checkpoint_from_elsewhere(data: DLRMDataModule) -> None:
    with pytest.raises(ConfigurationError, match=r"from local files only\. Copy 's3://bucket/a\.ckpt'"):
        trainer().quantize(click_module(data), data, "s3://bucket/a.ckpt")


def test_a_run_that_has_nothing_to_train_says_so(
    data: DLRMDataModule, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again, message = trainer(max_steps=4, max_epochs=3), "Nothing was trained: the limit is "
    with caplog.at_level(logging.WARNING, logger="dlrm_pl"):
        again.fit(click_module(data), datamodule=data)
        assert message not in caplog.text
        again.fit(click_module(data), datamodule=data)
        assert f"{message}max_epochs=3 and max_steps=4, and the run is already at step 4" in caplog.text
        caplog.clear()
        trainer(max_steps=4).fit(click_module(data), datamodule=data, ckpt_path=str(saved))
        assert f"{message}max_steps=4, and the run is already at step 4" in caplog.text
        caplog.clear()
        whole = trainer(max_epochs=1)
        whole.fit(click_module(data), datamodule=data)
        whole.save_checkpoint(saved.parent / "whole.ckpt")
        trainer(max_epochs=2).fit(click_module(data), datamodule=data, ckpt_path=str(saved.parent / "whole.ckpt"))
        assert message not in caplog.text
        trainer(max_epochs=1).fit(click_module(data), datamodule=data, ckpt_path=str(saved.parent / "whole.ckpt"))
        assert f"{message}max_epochs=1, and the run is already at step 16, after 1 epoch." in caplog.text
        trainer(limit_train_batches=0).fit(click_module(data), datamodule=data)
        assert f"{message}limit_train_batches=0" in caplog.text


def test_predict_returns_the_probabilities_unless_told_otherwise(data: DLRMDataModule) -> None:
    scored, predicting = click_module(data).eval(), trainer()
    batches = predicting.predict(scored, datamodule=data)
    with torch.no_grad():
        expected = [torch.sigmoid(scored(batch)) for batch in data.predict_dataloader()]
    torch.testing.assert_close(batches, expected, rtol=0, atol=0)
    assert predicting.predict(scored, datamodule=data, return_predictions=False) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("accumulate_grad_batches", 0), ("check_val_every_n_epoch", 0), ("gradient_clip_val", -0.5)),
        *(("gradient_clip_val", float("nan")), ("max_epochs", -5), ("val_check_interval", 0)),
    ],
)
def test_numbers_that_lightning_stumbles_over_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"trainer\.{name}={value} must be "):
        trainer(**{name: value})


@pytest.mark.slow
def test_ranks_score_what_one_process_scores(data: DLRMDataModule, saved: Path, tmp_path: Path) -> None:
    """Lightning copies the first rank's weights to the others in place, which a read-only map would not survive."""
    scores = []
    for stage in ("validate", "test"):
        scores += getattr(trainer(), stage)(click_module(data), datamodule=data, ckpt_path=str(saved), verbose=False)
    (tmp_path / "expected.json").write_text(json.dumps(scores))
    program = _RANKS.format(folder=str(data.folder.path), saved=str(saved), expected=str(tmp_path / "expected.json"))
    run_ranks(program, tmp_path)


@pytest.mark.slow
def test_a_model_larger_than_memory_is_scored(tmp_path: Path) -> None:
    """Under a memory limit of a twentieth of the tables, which are a sparse file."""
    (tmp_path / "program.py").write_text(_LARGE)
    subprocess.run([sys.executable, tmp_path / "program.py", tmp_path], check=True, timeout=600)


_RANKS = """
import json
from pathlib import Path
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init
from dlrm_pl.trainer import DLRMTrainer

class Joined(LightningEnvironment):
    creates_processes_externally = True

def trainer(**options):
    environment = Joined()
    environment.local_rank = lambda: rank
    strategy = DDPStrategy(cluster_environment=environment, process_group_backend="gloo")
    return DLRMTrainer(accelerator="cpu", devices=2, strategy=strategy, logger=False, enable_progress_bar=False,
                       enable_model_summary=False, enable_checkpointing=False, **options)

data = DLRMDataModule({folder!r}, batch_size=500, shuffle="none")
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
with skip_weight_init():
    resumed = module()
options = dict(ckpt_path={saved!r}, override=True)  # The checkpoint is from a single process.
trainer(max_steps=6, num_sanity_val_steps=0).fit(resumed, datamodule=data, **options)
for tensor in resumed.state_dict().values():
    dist.broadcast(first := tensor.clone(), 0)
    assert torch.equal(first, tensor)
"""


_LARGE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.data.synthetic.synthesize import synthesize
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.training.weight_init import skip_weight_init
from dlrm_pl.trainer import DLRMTrainer

folder = Path(sys.argv[1])
synthesize(folder / "data", rows=3000, days=2, seed=1, label_rate=0.3, best_auroc=0.8, max_table_size=50)
for path in (folder / "data").glob("day_fea_dict*"):
    path.unlink()
(folder / "data" / "dataset.json").unlink()
counts = np.load(folder / "data" / "day_fea_count.npz")["counts"]
counts[:2] = 40_000_000
np.savez(folder / "data" / "day_fea_count.npz", counts=counts)
data = DLRMDataModule(str(folder / "data"), batch_size=100)
shape = {"embedding_dim": 128, "bottom_mlp": (13, 128), "top_mlp": (1,)}
with skip_weight_init():
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


def test_checkpoints_are_given_as_paths(data: DLRMDataModule, saved: Path, tmp_path: Path) -> None:
    module, runner = click_module(data), trainer(max_steps=5)
    runner.fit(module, datamodule=data, ckpt_path=saved)
    assert runner.global_step == 5
    assert runner.validate(module, datamodule=data, ckpt_path=saved)
    assert runner.test(module, datamodule=data, ckpt_path=saved)
    assert runner.predict(module, datamodule=data, ckpt_path=saved)
    assert runner.predict(module, datamodule=data, ckpt_path=saved, output=tmp_path / "p.npy") is None
    assert len(np.load(tmp_path / "p.npy")) == 2000
    assert runner.quantize(module, data, ckpt_path=saved, output=tmp_path / "int8", relative=0.5).path.is_dir()
