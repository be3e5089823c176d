"""State dicts with TorchRec's names become checkpoints and go back; those that are not a TorchRec DLRM are refused."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrm_pl.errors import CheckpointError, ConfigurationError, DatasetError
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.load import load_dlrm, read_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.upstream.exporting import export_upstream
from dlrm_pl.model.upstream.foreign import KnownDataset
from dlrm_pl.model.upstream.opening import open_foreign
from dlrm_pl.model.upstream.torchrec.exporting import export_torchrec
from dlrm_pl.model.upstream.torchrec.importing import TorchRecCheckpoint
from tests.support.files.torchrec_states import TABLES, V1, V2, torchrec_state

State = dict[str, Any]


def import_to(folder: Path, contents: Any, kind: str = "zip") -> Path:
    torch.save(contents, folder / "theirs.pt", _use_new_zipfile_serialization=kind == "zip")
    TorchRecCheckpoint(folder / "theirs.pt").write(folder / "ours.ckpt")
    return folder / "ours.ckpt"


@pytest.mark.each_value
@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "dlrm_module.", "module.model."])
@pytest.mark.parametrize("shape", [V1, V2], ids=["v1", "v2"])
def test_import_and_export_are_inverse(tmp_path: Path, shape: Architecture, prefix: str, kind: str) -> None:
    ours = import_to(tmp_path, torchrec_state(shape, prefix), kind)
    assert load_dlrm(ours).architecture == shape
    export_torchrec(ours, tmp_path / "back.pt")
    back, state = torch.load(tmp_path / "back.pt", weights_only=True), torchrec_state(shape)
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor), name


def test_only_the_first_top_layer_of_version_1_has_another_order(tmp_path: Path) -> None:
    """Its inputs are the dense vector and the products in the order (1, 0), (2, 0), (2, 1), (3, 0), ..."""
    state = torchrec_state(V1)
    found = load_dlrm(import_to(tmp_path, state)).state_dict()
    theirs = state["over_arch.model.0._mlp.0._linear.weight"]
    torch.testing.assert_close(found["top_mlp.0.weight"], theirs[:, [0, 1, 2, 3, 4, 5, 7, 6, 8, 9]], rtol=0, atol=0)
    assert torch.equal(found["top_mlp.2.weight"], state["over_arch.model.0._mlp.1._linear.weight"])


def test_tables_follow_their_numbers_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = dict(reversed(torchrec_state(V2).items()))
    with caplog.at_level(logging.INFO):
        assert load_dlrm(import_to(tmp_path, state)).architecture.table_sizes == (6, 5, 9)
    assert "sorted by their numbers: t_cat_0, t_cat_1, t_cat_2" in caplog.text


def test_tables_without_numbers_keep_the_order_of_the_file_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"t_cat_0": "user", "t_cat_1": "item", "t_cat_2": "country"}
    state = {re.sub("t_cat_.", lambda m: names[m[0]], name): t for name, t in torchrec_state(V2).items()}
    with caplog.at_level(logging.INFO):
        assert load_dlrm(import_to(tmp_path, state)).architecture == V2
    assert "in the order of the checkpoint: user, item, country." in caplog.text


def test_other_entries_are_left_out_and_listed(tmp_path: Path) -> None:
    contents = {"epoch": 3, "optimizer": {"lr": 0.1}, "model": torchrec_state(V2)}
    found = read_checkpoint(import_to(tmp_path, contents))
    assert found["reference"]["left_out"] == ["epoch", "optimizer"]
    assert found["epoch"] == 0


def test_half_precision_is_converted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {name: tensor.half() for name, tensor in torchrec_state(V1).items()}
    found = load_dlrm(import_to(tmp_path, state)).state_dict()
    assert torch.equal(found["embedding_bags.tables.1.weight"], state[f"{TABLES}.t_cat_1.weight"].float())
    assert "converting weights of type torch.float16" in caplog.text


def changed(name: str, value: Tensor | None) -> Callable[[State], State]:
    """Return a state dict with another tensor under a name, or without one."""

    def change(state: State) -> State:
        return {k: v for k, v in state.items() if k != name} | ({} if value is None else {name: value})

    return change


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "projection": (
        changed("inter_arch.interaction_branch1.model._mlp.0._linear.weight", torch.zeros(2, 2)),
        r"'inter_arch.interaction_branch1.model._mlp.0._linear.weight' belongs to DLRM_Projection",
    ),
    "full rank": (changed("inter_arch.crossnet.kernels.0", torch.zeros(2, 2)), "belongs to a cross network of full"),
    "mixture": (changed("inter_arch.crossnet.U_kernels.0", torch.zeros(2, 2)), "belongs to a mixture of cross"),
    "quotient": (changed(f"{TABLES}.t_cat_0.weight_q", torch.zeros(2, 2)), "belongs to quotient-remainder tables"),
    "tensor train": (changed(f"{TABLES}.t_cat_0.tt_cores.0", torch.zeros(2, 2)), "belongs to tensor-train tables"),
    "packed": (changed("over_arch.model.1._packed_params", torch.zeros(2)), "belongs to a quantized model"),
    "int8": (changed(f"{TABLES}.t_cat_0.weight", torch.zeros(6, 4, dtype=torch.uint8)), r"uint8.*quantized model"),
    "unknown": (changed("over_arch.model.2.weight", torch.zeros(2)), "'over_arch.model.2.weight' is not a parameter"),
    "no tables": (lambda state: {k: v for k, v in state.items() if "sparse" not in k}, "has no tables: the checkpoint"),
    "no bottom": (
        lambda state: {k: v for k, v in state.items() if "dense_arch" not in k},
        "'dense_arch.model._mlp.0._linear.weight' is missing",
    ),
    "no last": (changed("over_arch.model.1.weight", None), "'over_arch.model.1.weight' is missing"),
    "no bias": (
        changed("dense_arch.model._mlp.1._linear.bias", None),
        "'dense_arch.*1._linear.bias' is missing",
    ),
    "no layer": (
        changed("over_arch.model.0._mlp.0._linear.weight", None),
        "'over_arch.model.0._mlp.0._linear.weight' is missing",
    ),
    "no table": (
        changed(f"{TABLES}.t_cat_1.weight", None),
        "takes 16 inputs, but with interaction dcn, 2 tables .* A table is missing",
    ),
    "no V": (changed("inter_arch.crossnet.V_kernels.1", None), "'inter_arch.crossnet.V_kernels.1' is missing"),
    "no W": (changed("inter_arch.crossnet.W_kernels.0", None), "'inter_arch.crossnet.W_kernels.0' is missing"),
    "no cross bias": (changed("inter_arch.crossnet.bias.1", None), "'inter_arch.crossnet.bias.1' is missing"),
    "mixed": (
        changed(f"{TABLES}.t_cat_1.weight", torch.zeros(5, 6)),
        "table t_cat_1 has dimension 6, but t_cat_0 has 4",
    ),
    "rank": (changed("inter_arch.crossnet.V_kernels.1", torch.zeros(2, 16)), r"has shape \[2, 16\], but \[3, 16\] is"),
    "bias": (changed("inter_arch.crossnet.bias.0", torch.zeros(3)), "'?inter_arch.crossnet.bias.0'? does not have 16"),
    "one dimension": (changed("over_arch.model.1.weight", torch.zeros(5)), r"has shape \[5\], but 2 dimensions"),
    "layers": (
        changed("over_arch.model.1.weight", torch.zeros(1, 6)),
        "over_arch.model.1.weight takes 6 inputs, but the layer before it has 5",
    ),
    "outputs": (changed("over_arch.model.1.bias", torch.zeros(2)), "over_arch.model.1.bias does not have one value"),
    "no tensor": (lambda state: state | {"over_arch.model.1.bias": [1.0]}, "'over_arch.model.1.bias' is a list, not a"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_dlrm_of_torchrec_is_refused(case: str, tmp_path: Path) -> None:
    change, message = REFUSED[case]
    with pytest.raises(CheckpointError, match=message) as error:
        import_to(tmp_path, change(torchrec_state(V2)))
    assert "theirs.pt" in str(error.value)
    assert not (tmp_path / "ours.ckpt").exists()


def test_a_sharded_tensor_in_a_file_is_refused_with_advice(tmp_path: Path) -> None:
    """Saved by ``torch.save`` from the state dict of DistributedModelParallel; only its name is read."""
    path = tmp_path / "theirs.pt"
    torch.save({"x": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    name = b"ctorch.distributed._shard.sharded_tensor.api\nShardedTensor\n"
    path.write_bytes(content.replace(b"ctorch._utils\n_rebuild_tensor_v2\n", name))
    with pytest.raises(CheckpointError, match=r"ShardedTensor, which is not.*torch\.distributed\.checkpoint"):
        open_foreign(path)


def test_cut_files_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    torch.save(torchrec_state(V2), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"cut\.pt: cut short"):
        TorchRecCheckpoint(path)
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="holds a list, not a state_dict"):
        TorchRecCheckpoint(path)
    torch.save({"emb_l.0.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of TorchRec's DLRM"):
        TorchRecCheckpoint(path)
    with pytest.raises(CheckpointError, match=r"is a folder without \.metadata or \.snapshot_metadata"):
        open_foreign(tmp_path)


def test_options_that_the_names_answer_are_refused(tmp_path: Path) -> None:
    torch.save(torchrec_state(V1), tmp_path / "v1.pt")
    with pytest.raises(ConfigurationError, match=r"determine the interaction, dot, and .* Leave out interaction"):
        open_foreign(tmp_path / "v1.pt", interaction="cat")
    with pytest.raises(ConfigurationError, match="Leave out loss_threshold"):
        open_foreign(tmp_path / "v1.pt", loss_threshold=0.1)


def test_the_dataset_is_compared(tmp_path: Path) -> None:
    torch.save(torchrec_state(V2), tmp_path / "v2.pt")
    opened = open_foreign(tmp_path / "v2.pt")
    with pytest.raises(DatasetError, match=r"counts\.npz: does not fit .*v2\.pt"):
        opened.write(tmp_path / "x.ckpt", KnownDataset(Path("counts.npz"), (6, 7, 9)))
    assert not (tmp_path / "x.ckpt").exists()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Architecture((6, 5), 4, (3, 4), (5, 1), interaction="cat"), "interaction='cat'"),
        (Architecture((6, 5), 4, (3, 4), (5, 1), self_interaction=True), "self_interaction=True"),
        (Architecture((6, 5), 4, (3, 4), (1,)), r"top_mlp=\[1\] with a single layer"),
    ],
)
def test_models_that_torchrec_does_not_have_are_not_exported(tmp_path: Path, shape: Architecture, message: str) -> None:
    module = DLRMModule(**shape.to_dict())
    saved: State = {"state_dict": module.state_dict()}
    module.contract.write(saved)
    torch.save(saved, tmp_path / "fit.ckpt")
    with pytest.raises(ConfigurationError, match=message):
        export_torchrec(tmp_path / "fit.ckpt", tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()


def test_version_2_is_not_exported_to_the_other_program(tmp_path: Path) -> None:
    ours = import_to(tmp_path, torchrec_state(V2))
    with pytest.raises(ConfigurationError, match=r"interaction='dcn', .* Use --to_torchrec"):
        export_upstream(ours, tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()
