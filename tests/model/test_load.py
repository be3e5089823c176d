"""Checkpoints: what they state, what is refused, and that tables are mapped and not copied."""

import contextlib
import dataclasses
import gc
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from dlrm_pl.callbacks.checkpoint_io import AtomicCheckpointIO
from dlrm_pl.errors import CheckpointError, DatasetError
from dlrm_pl.export.fbgemm_folder import export_tables
from dlrm_pl.export.fbgemm_layouts import Rows
from dlrm_pl.inspection import describe
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import load_checkpoint, load_dlrm, load_into, read_checkpoint
from dlrm_pl.model.parameter_names import to_upstream
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.upstream.exporting import export_upstream
from dlrm_pl.quantization.ptq.quantize import table_packer
from tests.support.training import (
    FakeData,
    assert_same_weights,
    loader,
    make_batches,
    make_module,
    make_trainer,
)

# Lightning remarks that these runs have no validation, which is as intended.
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")

OPTIONS: dict[str, Any] = {"optimizer": "adagrad", "loss_threshold": 0.1, "dataset_fingerprint": "aa"}


@pytest.fixture(scope="module")
def trained() -> DLRMModule:
    module = make_module(**OPTIONS)
    make_trainer().fit(module, loader(make_batches(3)))
    return module


@pytest.fixture(scope="module")
def saved(trained: DLRMModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.ckpt"
    trained.trainer.save_checkpoint(path)
    return path


def flipped(saved: Path, path: Path, name: str) -> Path:
    """A copy with another bit in the middle of a tensor."""
    content = bytearray(saved.read_bytes())
    tensor = open_checkpoint(saved)["state_dict"][name]
    content[tensor.offset + tensor.nbytes // 2] ^= 64
    path.write_bytes(content)
    return path


TABLE, LAYER = "model.embedding_bags.tables.2.weight", "model.top_mlp.0.weight"


@pytest.mark.parametrize("name", [TABLE, LAYER])
@pytest.mark.parametrize("load", [open_checkpoint, read_checkpoint, load_dlrm, load_checkpoint, describe])
def test_flipped_bit_of_a_small_tensor_is_found_wherever_it_is_loaded(
    saved: Path, tmp_path: Path, name: str, load: Callable[[Path], object]
) -> None:
    load(saved)
    damaged = flipped(saved, tmp_path / "x.ckpt", name)
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: damaged: .* which hold {name}, do not have the checksum"):
        load(damaged)


def quantize(path: Path) -> object:
    model = load_dlrm(path)
    assert model.weights_file is not None
    checksums = parameter_checksums(model, model.weights_file.tensors)
    return table_packer(model, checksums=checksums).packed(("int8",) * 3)


READING_ALL: list[Callable[[Path], object]] = [
    quantize,
    AtomicCheckpointIO().load_checkpoint,
    lambda path: describe(path, full=True),
    lambda path: export_upstream(path, path.with_name("x.pt")),
    lambda path: export_tables(path, path.with_name("tables"), Rows(8)),
    lambda path: read_checkpoint(path, mmap=False),
]


@pytest.mark.parametrize("read", READING_ALL)
def test_flipped_bit_of_a_large_table_is_found_where_it_is_read_whole(
    saved: Path, tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrm_pl.model.checkpoints.tensors.SMALL_BYTES", 0)
    damaged = flipped(saved, tmp_path / "x.ckpt", TABLE)
    with pytest.raises(CheckpointError, match="damaged"):
        read(damaged)


def test_what_of_a_large_table_was_not_checked_is_said(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_into(make_module(**OPTIONS), saved) == ""
    assert describe(saved).splitlines()[-1] == "checked   all by the checksums in the file"
    monkeypatch.setattr("dlrm_pl.model.checkpoints.tensors.SMALL_BYTES", 0)
    # Three tables, and as much for the state of Adagrad, with the steps and states of the layers.
    left = re.fullmatch(r"([\d,]+) bytes of large tensors", load_into(make_module(**OPTIONS), saved))
    assert left is not None
    assert int(left[1].replace(",", "")) > 2 * 4 * 4 * (6 + 5 + 9)
    assert f"but {left[0]}; `--full" in describe(saved).splitlines()[-1]
    assert describe(saved, full=True).splitlines()[-1] == "checked   all by the checksums in the file"
    with pytest.raises(CheckpointError, match=f"which hold {LAYER}"):
        load_into(make_module(**OPTIONS), flipped(saved, tmp_path / "x.ckpt", LAYER))


@pytest.mark.parametrize("use", ["validate", "test", "predict"])
def test_checkpoint_that_is_rewritten_while_it_is_scored_is_named(saved: Path, tmp_path: Path, use: str) -> None:
    path = Path(shutil.copy(saved, tmp_path / "model.ckpt"))
    module = make_module(**OPTIONS)
    load_into(module, path)
    module.model.watch.check()
    os.utime(path, (1, 1))
    with pytest.raises(CheckpointError, match=r"model\.ckpt: was changed in place while it was in use"):
        getattr(make_trainer(), use)(module, loader(make_batches(3)))


def test_weights_that_were_changed_in_memory_are_not_called_damaged(saved: Path) -> None:
    model = load_dlrm(saved)
    assert model.weights_file is not None
    before = model_checksum(model, parameter_checksums(model, model.weights_file.tensors))
    with torch.no_grad():
        next(model.embedding_bags.parameters())[0, 0] += 1
    assert model_checksum(model, parameter_checksums(model, model.weights_file.tensors)) != before


def changed(saved: Path, path: Path, **changes: Any) -> Path:
    """A copy of the checkpoint with other entries; None takes one away."""
    checkpoint = torch.load(saved, weights_only=True) | changes
    torch.save({name: value for name, value in checkpoint.items() if value is not None}, path)
    return path


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
    # Its metrics are on real memory though the model came by the meta device.
    (metrics,) = make_trainer().validate(module, loader([batch]), verbose=False)
    assert metrics["val_auroc"] > 0


def test_load_dlrm_gives_the_saved_model(saved: Path, trained: DLRMModule) -> None:
    model = load_dlrm(saved)
    (batch,) = make_batches(1)
    assert not model.training
    assert torch.equal(model(batch), trained(batch))


class LinkedCLI(LightningCLI):
    """Gives the model what the data says, as our command line does."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name in ("table_sizes", "dataset_fingerprint"):
            parser.link_arguments(f"data.{name}", f"model.{name}", apply_on="instantiate")


# Lightning 2.6 calls what jsonargparse has deprecated.
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_a_module_made_by_lightning_cli_is_loaded_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linked arguments are among the hyperparameters it saves, and so are entries of Lightning's own."""
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
    with pytest.raises(CheckpointError, match=r"tb00\.pt: is a checkpoint of the reference\. .*import-checkpoint"):
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table_sizes": [6, 5, 12]}, "table 2: the checkpoint has 9 rows, the dataset 12"),
        ({"table_sizes": [6, 5, 9, 2]}, "the checkpoint has 3 tables, the dataset 4"),
        ({"top_mlp": [7, 1]}, r"top_mlp is \[8, 1\] in the checkpoint, \[7, 1\] in the model"),
        ({"self_interaction": True}, "self_interaction is False in the checkpoint, True in the model"),
        ({"loss_threshold": 0.2}, "loss_threshold is 0.1 in the checkpoint, 0.2 in the model"),
        ({"dataset_fingerprint": "bb"}, "trained on the dataset aa, this one is bb: .* other categories"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    module = make_module(**(OPTIONS | changes))
    with pytest.raises(CheckpointError, match=rf"model\.ckpt: .*{message}"):
        load_into(module, saved)
    with pytest.raises(CheckpointError, match=message):
        make_trainer(max_epochs=2).fit(module, loader(make_batches(1)), ckpt_path=saved, weights_only=True)


def test_lightnings_own_checkpoint_is_refused(saved: Path, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "other.ckpt", dlrm_pl=None)
    message = "Not a dlrm_pl checkpoint: .*callbacks.*Give a file that `fit` wrote"
    with pytest.raises(CheckpointError, match=rf"other\.ckpt: {message}"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=message):
        make_trainer().test(make_module(), loader(make_batches(1)), ckpt_path=path, weights_only=True)


ARCHITECTURE = make_module(**OPTIONS).architecture.to_dict()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"format": 1}, "the entry 'dlrm_pl': architecture is missing"),
        ({"format": 1, "architecture": []}, r"the entry 'dlrm_pl': architecture: \[\] must be an object"),
        ({"format": 1, "architecture": {}, "dataset_fingerprint": ""}, "the architecture: table_sizes is missing"),
        ({"format": 1, "architecture": ARCHITECTURE | {"top_mlp": "1"}, "dataset_fingerprint": ""}, "no valid arch"),
        ({"format": 1, "architecture": ARCHITECTURE | {"top_mlp": [3]}, "dataset_fingerprint": ""}, "must end in 1"),
        ("mine", "Not a dlrm_pl checkpoint"),
    ],
)
def test_a_damaged_statement_is_refused(saved: Path, tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: .*{message}"):
        read_checkpoint(changed(saved, tmp_path / "x.ckpt", dlrm_pl=entry))


@pytest.mark.parametrize("load", [load_checkpoint, load_dlrm])
def test_weights_that_do_not_fit_their_statement_are_refused(saved: Path, tmp_path: Path, load: Any) -> None:
    state = dict(read_checkpoint(saved, mmap=False)["state_dict"])
    state.pop("model.top_mlp.0.bias")
    path = changed(saved, tmp_path / "x.ckpt", state_dict=state)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: its weights do not fit(.|\n)*top_mlp.0.bias"):
        load(path)


@pytest.mark.parametrize(
    ("saved_values", "message"), [({"depth": 3, "_instantiator": "y"}, "'depth'"), ({"optimizer": "adam"}, "'adam'")]
)
def test_foreign_hyperparameters_are_refused(
    saved: Path, tmp_path: Path, saved_values: dict[str, Any], message: str
) -> None:
    path = changed(saved, tmp_path / "x.ckpt", hyper_parameters=saved_values)
    with pytest.raises(CheckpointError, match=rf"x\.ckpt: its hyperparameters are not those .*{message}"):
        load_checkpoint(path)


class Hostile:
    """Runs code when it is unpickled without torch's allow-list."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_a_hostile_pickle_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    path = changed(saved, tmp_path / "x.ckpt", callbacks=Hostile(tmp_path / "proof"))
    with pytest.raises(CheckpointError, match=r"x\.ckpt: holds posix\.mkdir, which is none of .* as `fit` wrote it"):
        read_checkpoint(path)
    assert not (tmp_path / "proof").exists()


def test_files_that_are_no_checkpoint_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.ckpt: does not exist"):
        read_checkpoint(tmp_path / "nothing.ckpt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(CheckpointError, match=r"list\.ckpt: holds a list, not a checkpoint"):
        read_checkpoint(tmp_path / "list.ckpt")
    torch.save({}, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match=r"empty\.ckpt: Not a dlrm_pl checkpoint: .* but nothing"):
        read_checkpoint(tmp_path / "empty.ckpt")


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02]q\x00."])
def test_garbage_is_refused(tmp_path: Path, content: bytes, mmap: bool) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt: "):
        read_checkpoint(path, mmap=mmap)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(saved: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"x\.ckpt: (is empty|cut short)"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore")  # Torch remarks on what damaged bytes seem to ask for.
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=8))
def test_a_damaged_file_raises_nothing_else(saved: Path, tmp_path: Path, places: list[tuple[float, int]]) -> None:
    content = bytearray(saved.read_bytes())
    for share, flip in places:
        content[int(share * len(content))] ^= flip
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):  # A flip within a weight is not noticed.
        load_dlrm(path)
        load_checkpoint(path)


def test_check_dataset_names_the_difference() -> None:
    contract = CheckpointContract(make_module().architecture, "aa")
    contract.check_dataset([6, 5, 9], "aa")
    contract.check_dataset([6, 5, 9], "")
    with pytest.raises(DatasetError, match="table 1: the dataset has 4 rows, the model 5"):
        contract.check_dataset([6, 4, 9], "aa")
    dataclasses.replace(contract, dataset_fingerprint="").check_dataset([6, 5, 9], "bb")


def test_resuming_on_another_dataset_is_refused(saved: Path) -> None:
    """A module that does not know its dataset yet takes the data module's, which the checkpoint contradicts."""
    module = make_module(**(OPTIONS | {"dataset_fingerprint": ""}))
    with pytest.raises(CheckpointError, match="trained on the dataset aa, this one is bb"):
        make_trainer(max_epochs=2).fit(module, datamodule=FakeData([6, 5, 9], "bb"), ckpt_path=saved, weights_only=True)
