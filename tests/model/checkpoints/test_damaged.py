"""Checkpoints with invalid entries give one message that names the entry, whichever command reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrm_pl.errors import CheckpointError, DLRMError
from dlrm_pl.inspection import describe
from dlrm_pl.model.checkpoints.contract import CheckpointContract
from dlrm_pl.model.load import load_checkpoint, load_dlrm
from dlrm_pl.model.parameter_names import to_upstream_name
from dlrm_pl.model.upstream.importing import UpstreamCheckpoint
from tests.support import tiny
from tests.support.documents import MISSING, with_value

TABLE = "model.embedding_bags.tables.1.weight"


def checkpoint() -> dict[str, Any]:
    """A checkpoint as ``fit`` writes it, of an imported model."""
    contents: dict[str, Any] = {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in tiny.model().state_dict().items()},
        "hyper_parameters": tiny.ARCHITECTURE.to_dict() | {"dataset_fingerprint": "abc"},
        "reference": {
            **{"file": "x.pt", "format": "zip", "metadata": {"test_auc": 0.8}, "left_out": []},
            **{"converted_from": [], "nonfinite_rows": {}},
        },
    }
    CheckpointContract(tiny.ARCHITECTURE, "abc").write(contents)
    return contents


def test_whole_checkpoint_is_described(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "a.ckpt")
    text = describe(tmp_path / "a.ckpt")
    assert re.search(r"^imported +from x\.pt of upstream \(zip format\)$", text, re.MULTILINE)
    assert re.search(r"^trained +20 steps, to epoch 2$", text, re.MULTILINE)
    torch.save(with_value(checkpoint(), ("epoch",), MISSING), tmp_path / "a.ckpt")
    assert re.search(r"^trained +unknown$", describe(tmp_path / "a.ckpt"), re.MULTILINE)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("epoch",), -1, "the checkpoint: epoch: -1 must be a whole number of at least 0 or null"),
        (("global_step",), "20", "the checkpoint: global_step: '20' must be a whole number or null"),
        (("state_dict", TABLE), 3, "tables.1.weight' in its state_dict is 3, not a tensor"),
        (("state_dict", 5), torch.zeros(1), "state_dict: 5 must be text, as the name of a field"),
        (("state_dict", TABLE), MISSING, r"tables\.1\.weight should have the shape \[7, 8\], but is not there"),
        (("state_dict", TABLE), torch.zeros(3), r"tables\.1\.weight should have the shape \[7, 8\], but is \[3\]"),
        (("hyper_parameters",), {1, 2}, r"hyper_parameters: \{1, 2\} must be an object with fields"),
        (("hyper_parameters", 5), 1, "hyper_parameters: 5 must be text, as the name of a field"),
        (("reference",), {"file": 1}, "reference"),
        (("reference", "left_out"), [1], r"reference\.left_out\.0: 1 must be text"),
        (("dlrm_pl", "dataset_fingerprint"), None, "dataset_fingerprint: None must be text"),
        (("dlrm_pl", "format"), "\ud800", r"has format '\\ud800', but this version of dlrm_pl reads 1"),
        (("dlrm_pl", "architecture"), 3, "architecture: 3 must be an object with fields"),
        (("dlrm_pl", "architecture", "embedding_dim"), 8.0, "embedding_dim: 8.0 must be a whole number"),
        (("dlrm_pl", "architecture", "embedding_dim"), MISSING, "the architecture: embedding_dim is missing"),
        (("dlrm_pl", "architecture", "table_sizes", 0), 2**62, r"table_sizes\[0\]=4611686018427387904 is too large"),
        (("dlrm_pl", "architecture", "table_sizes", 0), True, r"table_sizes\.0: True must be a whole number"),
        (
            ("dlrm_pl", "architecture", "bottom_mlp", 1),
            10**30,
            r"bottom_mlp\[1\]=10{30} is too large",
        ),
        (("dlrm_pl", "architecture", "top_mlp"), [1] * 10_001, "top_mlp has 10,001 numbers, but at most 10,000"),
        (("dlrm_pl", "architecture", "self_interaction"), torch.zeros(3), "self_interaction: .* must be true or false"),
    ],
)
def test_entry_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, path: tuple[Any, ...], value: Any, message: str
) -> None:
    file = tmp_path / "a.ckpt"
    torch.save(with_value(checkpoint(), path, value), file)
    with pytest.raises(CheckpointError, match=rf"a\.ckpt: .*{message}"):
        describe(file)
    for load in (load_checkpoint, load_dlrm):
        with pytest.raises(DLRMError, match=r"a\.ckpt: "):
            load(file)


def test_text_of_a_checkpoint_is_printed_on_a_part_of_a_line(tmp_path: Path) -> None:
    metadata = {"\x1b[2J": 1, "half": "\ud800", "long": "x" * 1000, "note": "a b"}
    torch.save(with_value(checkpoint(), ("reference", "metadata"), metadata), tmp_path / "a.ckpt")
    (line,) = [line for line in describe(tmp_path / "a.ckpt").splitlines() if line.startswith("states ")]
    assert " ".join(line.split()) == rf"states \x1b[2J 1, half \ud800, long {'x' * 100}..., note a b"


def test_shared_lists_of_a_reference_checkpoint_stay_shared(tmp_path: Path) -> None:
    bomb: list[Any] = [torch.tensor(0.5)]
    for _ in range(5):
        bomb = [bomb] * 10
    state = {to_upstream_name(name): tensor for name, tensor in tiny.model().state_dict().items()}
    torch.save({"state_dict": state, "extra": bomb, "array": torch.zeros(3)}, tmp_path / "a.pt")
    imported = UpstreamCheckpoint(tmp_path / "a.pt")
    assert imported.left_out == ["array"]
    extra = imported.metadata["extra"]
    assert len({id(one) for one in extra}) == 1
    assert extra[0][1][2][3][4] == [0.5]
    for _ in range(35):
        bomb = [bomb] * 10
    torch.save({"state_dict": state, "extra": bomb}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=r"b\.pt: holds more than 2,000,000 values"):
        UpstreamCheckpoint(tmp_path / "b.pt")
