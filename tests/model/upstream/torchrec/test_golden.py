"""Checkpoints that TorchRec and torchsnapshot wrote, sharded by two processes: imported models give TorchRec's logits.

``golden/make.py`` made the files, and states the versions it used.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlrm_pl.batch import ClickBatch
from dlrm_pl.inspection import describe
from dlrm_pl.model.load import load_dlrm, read_checkpoint
from dlrm_pl.model.upstream.opening import open_foreign

GOLDEN = Path(__file__).parent / "golden"
FORMATS = {"v1.pt": "zip", "v2_dcp": "dcp", "v2_snapshot": "snapshot"}
DRAWN_BY_TWO = ("v2_dcp", "v2_snapshot")


@pytest.mark.parametrize("name", FORMATS)
def test_logits_are_torchrecs(name: str, tmp_path: Path) -> None:
    opened = open_foreign(GOLDEN / name)
    assert opened.format == FORMATS[name]
    opened.write(tmp_path / "ours.ckpt")
    model = load_dlrm(tmp_path / "ours.ckpt")
    shape = model.architecture
    assert (shape.table_sizes, shape.embedding_dim) == ((5, 3, 4), 8)
    assert (shape.interaction, shape.cross_layers, shape.cross_rank) == (
        ("dot", 0, 0) if name == "v1.pt" else ("dcn", 1, 2)
    )
    batch = np.load(GOLDEN / "batch.npz")
    tensors = {part: torch.from_numpy(batch[part]) for part in ("dense", "indices", "offsets")}
    with torch.no_grad():
        logits = model(ClickBatch(**tensors)).numpy()
    expected = batch[name[:2]]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-6, rtol=1e-6)


def test_both_folders_hold_the_same_weights(tmp_path: Path) -> None:
    states = []
    for name in DRAWN_BY_TWO:
        open_foreign(GOLDEN / name).write(tmp_path / name)
        states.append(read_checkpoint(tmp_path / name)["state_dict"])
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_what_is_left_out_is_listed(tmp_path: Path) -> None:
    for name, left_out in (("v1.pt", ["epoch"]), ("v2_dcp", ["step"]), ("v2_snapshot", [])):
        open_foreign(GOLDEN / name).write(tmp_path / "ours.ckpt", None)
        assert read_checkpoint(tmp_path / "ours.ckpt")["reference"]["left_out"] == left_out
    assert "imported" in str(describe(tmp_path / "ours.ckpt"))
