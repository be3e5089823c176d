"""Checkpoints of the reference, made with plain torch, become ours and go back; scores equal a slow NumPy model's."""

import collections
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.errors import CheckpointError, DatasetError
from dlrm_pl.inspection import describe
from dlrm_pl.model.load import load_checkpoint, load_dlrm, read_checkpoint
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.model.upstream.exporting import export_upstream
from dlrm_pl.model.upstream.foreign import KnownDataset
from dlrm_pl.model.upstream.importing import UpstreamCheckpoint
from dlrm_pl.torch_file.directory import TorchFile
from tests.reference import dlrm as reference

SIZES = (6, 5, 9)
DIMENSION = 4


class UpstreamModel(nn.Module):
    """Parameters with the reference's names; interaction ``dot`` of three tables and the dense vector."""

    def __init__(self, width: int = DIMENSION + 6, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.emb_l = nn.ModuleList(nn.EmbeddingBag(rows, DIMENSION, mode="sum", sparse=True) for rows in SIZES)
        self.bot_l = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, DIMENSION), nn.ReLU())
        self.top_l = nn.Sequential(nn.Linear(width, 7), nn.ReLU(), nn.Linear(7, 1), nn.Sigmoid())


def checkpoint(model: nn.Module | None = None, **changes: Any) -> dict[str, Any]:
    """Make a checkpoint like those of the 2020 reference."""
    model = model or UpstreamModel()
    return {
        "epoch": 0,
        "nepochs": 1,
        "nbatches": 300,
        "nbatches_test": 20,
        "iter": 200,
        "state_dict": model.state_dict(),
        "train_acc": np.float64(0.96),
        "train_loss": np.float32(0.12),
        "test_acc": np.float64(0.95),
        "test_loss": 0.13,
        "total_loss": 0,
        "total_accu": np.int64(0),
        "opt_state_dict": torch.optim.SGD(model.parameters(), lr=0.3).state_dict(),
    } | changes


def save(contents: Any, path: Path, kind: str = "legacy") -> Path:
    torch.save(contents, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def import_to(contents: Any, folder: Path, kind: str = "legacy", **options: Any) -> Path:
    opened = UpstreamCheckpoint(save(contents, folder / "ref.pt", kind), **options)
    opened.write(folder / "ours.ckpt")
    return folder / "ours.ckpt"


def batch(rows: int = 20) -> ClickBatch:
    rng = torch.Generator().manual_seed(5)
    indices = torch.stack([torch.randint(0, size, (rows,), generator=rng) for size in SIZES])
    return ClickBatch(torch.rand(rows, 3, generator=rng) * 3, indices, None, torch.zeros(rows))


def scores_by_loops(model: UpstreamModel, clicks: ClickBatch, kind: str, itself: bool) -> np.ndarray:
    def layers(stack: nn.Sequential) -> reference.Layers:
        linears = [layer for layer in stack if isinstance(layer, nn.Linear)]
        return [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in linears]

    parameters = {
        "tables": [table.weight.detach().double().numpy() for table in model.emb_l],
        "bottom": layers(model.bot_l),
        "top": layers(model.top_l),
    }
    bags = [[[int(row)] for row in rows] for rows in clicks.indices]
    dense = clicks.dense.double().numpy()
    logits = reference.logits_by_loops(parameters, dense, bags, kind=kind, itself=itself, threshold=0)
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("interaction", "itself", "width"), [("dot", False, 10), ("dot", True, 14), ("cat", False, 16)]
)
def test_scores_are_those_of_the_reference(
    tmp_path: Path, kind: str, interaction: str, itself: bool, width: int
) -> None:
    model = UpstreamModel(width)
    imported = load_dlrm(import_to(checkpoint(model), tmp_path, kind))
    assert (imported.architecture.interaction, imported.architecture.self_interaction) == (interaction, itself)
    with torch.no_grad():
        scores = torch.sigmoid(imported(batch())).numpy()
    expected = scores_by_loops(model, batch(), interaction, itself)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(scores, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("module", [b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"])
def test_statements_of_the_file_are_kept(tmp_path: Path, kind: str, module: bytes) -> None:
    path = save(checkpoint(), tmp_path / "ref.pt", "legacy")
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", module))
    if kind == "zip":  # Its checksums would not survive the change above.
        path = save(checkpoint(), tmp_path / "ref.pt", "zip")
    UpstreamCheckpoint(path, loss_threshold=0.01).write(tmp_path / "ours.ckpt")
    found = read_checkpoint(tmp_path / "ours.ckpt")
    origin = found["reference"]
    assert origin["metadata"]["test_acc"] == 0.95
    assert origin["metadata"]["train_loss"] == float(np.float32(0.12))
    assert origin["metadata"]["opt_state_dict"]["param_groups"][0]["lr"] == 0.3
    assert (origin["file"], origin["format"], origin["left_out"], origin["nonfinite_rows"]) == ("ref.pt", kind, [], {})
    assert (found["epoch"], found["global_step"]) == (0, 200)
    assert found["dlrm_pl"]["architecture"]["loss_threshold"] == 0.01
    assert found["dlrm_pl"]["dataset_fingerprint"] == ""


@pytest.mark.parametrize("missing", [["test_auc"], ["epoch", "iter", "opt_state_dict"], list(checkpoint())])
def test_every_number_is_optional(tmp_path: Path, missing: list[str]) -> None:
    contents = {name: value for name, value in checkpoint().items() if name == "state_dict" or name not in missing}
    load_checkpoint(import_to(contents, tmp_path))


def test_a_bare_state_dict_is_imported(tmp_path: Path) -> None:
    model = load_dlrm(import_to(UpstreamModel().state_dict(), tmp_path))
    assert torch.equal(model.embedding_bags.tables[1].weight, UpstreamModel().emb_l[1].weight)  # type: ignore[union-attr, index]


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_lightning_loads_it(tmp_path: Path, kind: str) -> None:
    path = import_to(checkpoint(), tmp_path, kind)
    module = DLRMModule.load_from_checkpoint(path, weights_only=True)
    assert torch.equal(module.model.bottom_mlp[0].weight, UpstreamModel().bot_l[0].weight)  # type: ignore[index, union-attr]
    assert set(torch.load(path, weights_only=True)["state_dict"]) == set(module.state_dict())


# Wrappers and types.


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: name.replace("bot_l.", "bot_l.module.").replace("top_l.", "top_l.module."),
    ],
    ids=["DataParallel", "DistributedDataParallel"],
)
def test_names_of_wrappers_are_taken_off(tmp_path: Path, rename: Callable[[str], str]) -> None:
    state = {rename(name): value for name, value in UpstreamModel().state_dict().items()}
    model = load_dlrm(import_to(checkpoint(state_dict=state), tmp_path))
    assert torch.equal(model.top_mlp[2].bias, UpstreamModel().top_l[2].bias)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted_and_said(
    tmp_path: Path, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    model = UpstreamModel().to(dtype)
    with caplog.at_level(logging.WARNING):
        path = import_to(checkpoint(model), tmp_path)
    assert f"converting weights of type {dtype} to torch.float32" in caplog.text
    found = read_checkpoint(path)
    assert found["reference"]["converted_from"] == [str(dtype)]
    stored = found["state_dict"]["model.embedding_bags.tables.2.weight"]
    assert torch.equal(stored, model.emb_l[2].weight.float())


def test_rows_that_are_not_finite_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = UpstreamModel().state_dict()
    state["emb_l.2.weight"][1, 0] = math.nan
    state["emb_l.2.weight"][7, 1] = math.inf
    state["emb_l.2.weight"][7, 2] = -math.inf
    state["emb_l.1.weight"][:] = 3e38  # Large values are finite, although their sum is not.
    with caplog.at_level(logging.WARNING):
        path = import_to(checkpoint(state_dict=state), tmp_path)
    assert read_checkpoint(path)["reference"]["nonfinite_rows"] == {"emb_l.2.weight": 2}
    assert "emb_l.2.weight has NaN or infinity in 2 of 9 rows" in caplog.text
    assert "emb_l.1" not in caplog.text


def test_an_optimizer_with_tensors_is_left_out_and_said(tmp_path: Path) -> None:
    model = UpstreamModel()
    adagrad = torch.optim.Adagrad(model.parameters()).state_dict()
    contents = checkpoint(model, opt_state_dict=adagrad, metric=torch.tensor(0.5))
    origin = read_checkpoint(import_to(contents, tmp_path))["reference"]
    assert origin["left_out"] == ["opt_state_dict"]
    assert origin["metadata"]["metric"] == 0.5


# Refused checkpoints.


def without(name: str) -> dict[str, Any]:
    state = UpstreamModel().state_dict()
    del state[name]
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (without("bot_l.2.bias"), "'bot_l.2.bias' is missing"),
        (without("emb_l.1.weight"), "'emb_l.1.weight' is missing"),
        (UpstreamModel().state_dict() | {"emb_l.0.weight_q": torch.ones(1)}, "quotient-remainder"),
        (UpstreamModel().state_dict() | {"emb_l.0.proj.weight": torch.ones(1)}, "mixed-dimension"),
        (UpstreamModel().state_dict() | {"v_W_l.0": torch.ones(6)}, "emb_l.1.weight has no row weights"),
        (
            UpstreamModel().state_dict() | {f"v_W_l.{table}": torch.ones(6) for table in range(4)},
            "'v_W_l.3' does not belong to any table",
        ),
        (
            UpstreamModel().state_dict() | {f"v_W_l.{table}": torch.ones(2) for table in range(3)},
            "emb_l.0.weight has 6 rows, but there are 2 row weights",
        ),
        (UpstreamModel().state_dict() | {"bot_l.0.scale": torch.ones(1)}, "quantized or prepared"),
        (UpstreamModel().state_dict() | {"other.weight": torch.ones(1)}, "'other.weight' is not a parameter"),
        (UpstreamModel().state_dict() | {"emb_l.0.weight": 3}, "'emb_l.0.weight' in its state_dict is a int"),
        (UpstreamModel().state_dict() | {"module.emb_l.0.weight": torch.ones(1)}, "'emb_l.0.weight' occurs twice"),
        (
            UpstreamModel().state_dict() | {"emb_l.0.weight": torch.ones(6, 4).char()},
            "emb_l.0.weight has type torch.int8",
        ),
        (UpstreamModel(11).state_dict(), "takes 11 inputs, but no interaction"),
        ({"a": torch.ones(1)}, "not a checkpoint of facebookresearch/dlrm: .* the file holds epoch, iter"),
    ],
)
def test_other_state_dicts_are_refused_by_name(tmp_path: Path, state: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"ref\.pt: .*{message}"):
        import_to(checkpoint(state_dict=state), tmp_path)
    assert not (tmp_path / "ours.ckpt").exists()


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    ours = import_to(checkpoint(), tmp_path)
    with pytest.raises(CheckpointError, match=r"ours\.ckpt: is already a checkpoint of dlrm_pl "):
        UpstreamCheckpoint(ours)
    with pytest.raises(CheckpointError, match=r"ref\.pt: holds a list"):
        UpstreamCheckpoint(save([1], tmp_path / "ref.pt"))
    (tmp_path / "cut.pt").write_bytes(save(checkpoint(), tmp_path / "ref.pt").read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"cut\.pt: cut short inside storage \d+ of 11.* Give a complete file"):
        UpstreamCheckpoint(tmp_path / "cut.pt")


def test_other_table_sizes_are_refused(tmp_path: Path) -> None:
    opened = UpstreamCheckpoint(save(checkpoint(), tmp_path / "ref.pt"))
    with pytest.raises(DatasetError, match=r"counts\.npz: does not fit .*table 1: the dataset has 7 rows, the model 5"):
        opened.write(tmp_path / "x.ckpt", KnownDataset(Path("counts.npz"), (6, 7, 9)))
    assert not (tmp_path / "x.ckpt").exists()
    opened.write(tmp_path / "x.ckpt", KnownDataset(Path("data"), SIZES, "abc"))
    assert read_checkpoint(tmp_path / "x.ckpt")["dlrm_pl"]["dataset_fingerprint"] == "abc"


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = save(checkpoint(), tmp_path / "ref.pt", "zip")
    content = bytearray(path.read_bytes())
    content[TorchFile.open(path).contents["state_dict"]["emb_l.0.weight"].offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"the source is corrupt, .* checksum"):
        UpstreamCheckpoint(path).write(tmp_path / "ours.ckpt")


@pytest.mark.parametrize("how", ["of another type", "a part of a larger one"])
def test_a_damaged_table_that_is_not_copied_byte_for_byte_is_refused(tmp_path: Path, how: str) -> None:
    model = UpstreamModel()
    state = dict((model.half() if how == "of another type" else model).state_dict())
    if how == "a part of a larger one":
        state["emb_l.0.weight"] = torch.cat([state["emb_l.0.weight"]] * 2)[: SIZES[0]]
    path = save(checkpoint(state_dict=state), tmp_path / "ref.pt", "zip")
    UpstreamCheckpoint(path).write(tmp_path / "ours.ckpt")
    content = bytearray(path.read_bytes())
    content[TorchFile.open(path).contents["state_dict"]["emb_l.0.weight"].offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"ref\.pt: corrupt: checksum mismatch .* which hold emb_l\.0\.weight"):
        UpstreamCheckpoint(path).write(tmp_path / "ours.ckpt")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_format_without_checksums_is_said(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    ours = import_to(checkpoint(), tmp_path, kind)
    assert ("has no checksums, so corrupt weights cannot be detected" in caplog.text) == (kind == "legacy")
    assert ("when it was imported: that format has no checksums" in describe(ours)) == (kind == "legacy")


# Export to the reference.


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("weights_only", [True, False])
def test_there_and_back_is_the_same(tmp_path: Path, kind: str, weights_only: bool) -> None:
    original = checkpoint()
    export_upstream(import_to(original, tmp_path, kind), tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=weights_only)
    assert isinstance(back["state_dict"], collections.OrderedDict)
    assert list(back["state_dict"]) == list(original["state_dict"])
    for name, tensor in original["state_dict"].items():
        assert torch.equal(back["state_dict"][name], tensor), name
    assert {name: value for name, value in back.items() if name not in ("state_dict", "test_auc")} == {
        name: value for name, value in original.items() if name != "state_dict"
    }
    assert math.isnan(back["test_auc"])


def test_weights_of_rows_are_multiplied_into_the_tables(tmp_path: Path) -> None:
    """Upstream's --weighted-pooling=learned in both directions: the scores are the same without it."""
    model = UpstreamModel()
    weights = {f"v_W_l.{table}": torch.rand(rows) for table, rows in enumerate(SIZES)}
    ours = import_to(checkpoint(state_dict=model.state_dict() | weights), tmp_path)
    state = read_checkpoint(ours)["state_dict"]
    for table, table_weights in enumerate(weights.values()):
        expected = model.emb_l[table].weight * table_weights[:, None]  # type: ignore[operator]
        assert torch.equal(state[f"model.embedding_bags.tables.{table}.weight"], expected)
    export_upstream(ours, tmp_path / "back.pt")
    assert list(torch.load(tmp_path / "back.pt")["state_dict"]) == list(model.state_dict())


def test_a_trained_checkpoint_is_loaded_as_the_reference_does(tmp_path: Path) -> None:
    """The reference reads these entries and passes them to its model and its optimizer."""
    module = DLRMModule(list(SIZES), DIMENSION, (3, 8, DIMENSION), (7, 1), learning_rate=0.7)
    saved = {
        **{"epoch": 2, "global_step": 30, "hyper_parameters": {"learning_rate": 0.7}},
        "state_dict": module.state_dict(),
    }
    module.contract.write(saved)
    torch.save(saved, tmp_path / "fit.ckpt")
    export_upstream(tmp_path / "fit.ckpt", tmp_path / "back.pt")
    loaded = torch.load(tmp_path / "back.pt")
    model = UpstreamModel(seed=9)
    model.load_state_dict(loaded["state_dict"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    optimizer.load_state_dict(loaded["opt_state_dict"])
    assert optimizer.param_groups[0]["lr"] == 0.7
    assert (loaded["epoch"], loaded["nepochs"], loaded["iter"]) == (2, 3, 30)
    for name in ("nbatches", "nbatches_test", "train_acc", "train_loss", "test_acc", "test_loss", "test_auc"):
        assert name in loaded
    with torch.no_grad():
        scores = torch.sigmoid(module(batch())).numpy()
    np.testing.assert_allclose(scores, scores_by_loops(model, batch(), "dot", False), atol=1e-6, rtol=0)
