"""Checkpoints: what they state, what is refused, and that tables are mapped rather than copied."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from dlrm_pl.errors import CheckpointError
from dlrm_pl.model.load import load_checkpoint, load_dlrm, load_into, read_checkpoint
from dlrm_pl.model.parameter_names import to_upstream
from dlrm_pl.model.training.lightning_module import DLRMModule
from tests.support.files.checkpoints import changed
from tests.support.training import (
    OPTIONS,
    FakeData,
    assert_same_weights,
    loader,
    make_batches,
    make_module,
    make_trainer,
)

# Lightning warns that these runs have no validation, which is intended.
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


def test_a_checkpoint_states_format_architecture_and_dataset(saved: Path, trained: DLRMModule) -> None:
    assert read_checkpoint(saved)["dlrm_pl"] == {
        "format": 1,
        "architecture": {
            "table_sizes": [6, 5, 9],
            "embedding_dim": 4,
            "bottom_mlp": [3, 8, 4],
            "top_mlp": [8, 1],
            "interaction": "dot",
            "self_interaction": False,
            "loss_threshold": 0.1,
        },
        "dataset_fingerprint": "aa",
    }


@pytest.mark.parametrize("mmap", [True, False])
def test_loading_gives_the_saved_tensors(saved: Path, trained: DLRMModule, mmap: bool) -> None:
    state = read_checkpoint(saved, mmap=mmap)["state_dict"]
    assert list(state) == list(trained.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.state_dict().items())


def test_load_checkpoint_gives_the_saved_module(saved: Path, trained: DLRMModule) -> None:
    module = load_checkpoint(str(saved))
    assert not module.training
    assert dict(module.hparams) == dict(trained.hparams)
    assert module.contract == trained.contract
    assert_same_weights(module, trained)
    (batch,) = make_batches(1)
    assert torch.equal(module(batch), trained(batch))
    # Its metrics are in real memory although the model was made on the meta device.
    (metrics,) = make_trainer().validate(module, loader([batch]), verbose=False)
    assert metrics["val_auroc"] > 0


def test_load_dlrm_gives_the_saved_model(saved: Path, trained: DLRMModule) -> None:
    model = load_dlrm(saved)
    (batch,) = make_batches(1)
    assert not model.training
    assert torch.equal(model(batch), trained(batch))


class LinkedCLI(LightningCLI):
    """Passes properties of the data to the model, as our command line does."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name in ("table_sizes", "dataset_fingerprint"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")


# Lightning 2.6 calls functions that jsonargparse has deprecated.
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_a_module_made_by_lightning_cli_is_loaded_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linked arguments are among the hyperparameters that it saves, as are entries of Lightning's own."""
    monkeypatch.setattr("sys.argv", ["cli.py"])
    model = ["--model.embedding_dim=4", "--model.bottom_mlp=[3,8,4]", "--model.top_mlp=[8,1]"]
    data = ["--data.sizes=[6,5,9]", "--data.fingerprint=aa"]
    cli = LinkedCLI(
        DLRMModule,
        FakeData,
        run=False,
        args=model + data,
        trainer_defaults={"logger": False},
        save_config_callback=None,
        seed_everything_default=0,
    )
    trainer = make_trainer()
    trainer.fit(cli.model, datamodule=cli.datamodule)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    hyper_parameters = read_checkpoint(tmp_path / "x.ckpt")["hyper_parameters"]
    assert hyper_parameters["table_sizes"] == [6, 5, 9]
    assert hyper_parameters["dataset_fingerprint"] == "aa"
    assert any(name.startswith("_") for name in hyper_parameters)
    assert_same_weights(load_checkpoint(tmp_path / "x.ckpt"), cli.model)
    assert_same_weights(DLRMModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True), cli.model)


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("load", [load_checkpoint, load_dlrm])
def test_tables_stay_mapped_on_the_file(saved: Path, tmp_path: Path, load: Any) -> None:
    path = changed(saved, tmp_path / "mapped.ckpt")
    kept = load(path)
    assert str(path) in mapped_files()
    assert not any(parameter.is_meta for parameter in kept.parameters())
    del kept
    gc.collect()
    assert str(path) not in mapped_files()


def test_a_loaded_module_can_be_trained_and_leaves_the_file_alone(saved: Path) -> None:
    before = saved.read_bytes()
    module = load_checkpoint(saved).train()
    old = {name: value.clone() for name, value in module.state_dict().items()}
    make_trainer().fit(module, loader(make_batches(2)))
    assert not any(torch.equal(value, old[name]) for name, value in module.state_dict().items())
    assert saved.read_bytes() == before


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 0}])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_the_reference_is_named(trained: DLRMModule, tmp_path: Path, zipped: bool, wrap: Any) -> None:
    path = tmp_path / "tb00.pt"
    torch.save(wrap(to_upstream(trained.model.state_dict())), path, _use_new_zipfile_serialization=zipped)
    message = r"tb00\.pt: is a checkpoint of facebookresearch/dlrm\. .*import-checkpoint"
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_load_into_fills_a_module(saved: Path, trained: DLRMModule, device: str) -> None:
    with torch.device(device):
        module = make_module(**(OPTIONS | {"dataset_fingerprint": ""}))
    load_into(module, saved)
    assert_same_weights(module, trained)
    assert module.dataset_fingerprint == "aa"


def test_lightning_loads_it_without_more_than_plain_types(saved: Path, trained: DLRMModule) -> None:
    module = DLRMModule.load_from_checkpoint(saved, weights_only=True)
    assert_same_weights(module, trained)
    assert module.contract == trained.contract
