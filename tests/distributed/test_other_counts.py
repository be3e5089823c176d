"""Two hosts with two processes each save a checkpoint; two processes resume from it and make a certified artifact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dlrm_pl.model.load import read_checkpoint
from tests.support.commands import run, write_config
from tests.support.processes.sharded import SHARDED_TRAINING, needs_engine, run_sharded

pytestmark = [pytest.mark.slow, needs_engine, pytest.mark.filterwarnings("ignore::UserWarning")]

_FOUR = """
rank = int(os.environ["RANK"])
os.environ.update(LOCAL_WORLD_SIZE="2", LOCAL_RANK=str(rank % 2), GROUP_RANK=str(rank // 2))
saved = ModelCheckpoint(folder / "four", filename="{step}", every_n_train_steps=10, save_top_k=-1)
kinds = ("row_wise", "table_wise", "table_row_wise", "data_parallel")
shardings = {str(table): kinds[table % 4] for table in range(26)}
train(16, {"sharding": shardings}, DATA, 40, callbacks=[saved], nodes=2, optimizer="adagrad", learning_rate=0.1)
"""

_TWO = """
saved = ModelCheckpoint(folder / "two", filename="{step}", every_n_train_steps=10, save_top_k=-1)
train(
    32, {"sharding": "row_wise"}, DATA, 40, callbacks=[saved], ckpt_path=folder / "four" / "step=20.ckpt",
    optimizer="adagrad", learning_rate=0.1,
)
"""


def test_checkpoint_of_four_goes_on_with_two_and_becomes_an_artifact(synthetic_folder: Path, tmp_path: Path) -> None:
    data = f"DATA = {str(synthetic_folder)!r}\n"
    run_sharded(SHARDED_TRAINING + data + _FOUR, tmp_path, 4)
    assert len(list((tmp_path / "four" / "step=20.ckpt").glob("part-*.pt"))) == 4
    run_sharded(SHARDED_TRAINING + data + _TWO, tmp_path, 2)
    ends = [read_checkpoint(tmp_path / name / "step=40.ckpt", whole=True)["state_dict"] for name in ("four", "two")]
    for name, value in ends[0].items():
        # Processes sum gradients of their own batches, which differ with two processes.
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=1e-5)

    merged, artifact = tmp_path / "merged.ckpt", tmp_path / "artifact"
    assert run("merge-checkpoint", tmp_path / "two" / "step=40.ckpt", "--output", merged) == 0
    config = write_config(tmp_path, synthetic_folder)
    given = ("-c", config, "--model.bottom_mlp", "[13,16,8]", "--model.top_mlp", "[16,1]")
    folder = tmp_path / "two" / "step=40.ckpt"
    for number, checkpoint in enumerate((merged, folder)):
        output = f"{artifact}-{number}"
        assert run("quantize", *given, "--ckpt_path", checkpoint, "--output", output, "--relative", "0.05") == 0
        assert run("verify", "--artifact", output, "--data", synthetic_folder, "--ckpt_path", folder) == 0
    certificates = [json.loads(Path(f"{artifact}-{number}", "certificate.json").read_text()) for number in range(2)]
    assert certificates[0]["accepted"]
    assert certificates[0]["int8"]["auroc"] == certificates[1]["int8"]["auroc"]
    assert run("inspect", folder, "--full") == 0
