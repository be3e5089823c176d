"""import-checkpoint, through the real command line."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dlrm_pl.data.formats.dataset_folder import DatasetFolder
from dlrm_pl.data.formats.torchrec.stated import StatedTables
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.model.load import read_checkpoint
from dlrm_pl.model.parameter_names import to_upstream
from tests.support.commands import ROOT, expect_error, run
from tests.support.files.torch_files import Sparse, save_sparse
from tests.support.files.torchrec_states import V1, V2, torchrec_state
from tests.support.logs.days import write_days


@pytest.fixture(scope="module")
def reference(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the reference in the older format of tb00_40M.pt."""
    torch.manual_seed(1)
    sizes = DatasetFolder.open(synthetic_folder).table_sizes
    model = DLRM(Architecture(sizes, embedding_dim=4, bottom_mlp=(13, 4), top_mlp=(5, 1)))
    path = tmp_path_factory.mktemp("reference") / "tb00.pt"
    contents = {"iter": 70, "epoch": 0, "test_acc": np.float64(0.9), "state_dict": to_upstream(model.state_dict())}
    torch.save(contents, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture
def config(synthetic_folder: Path, tmp_path: Path) -> Path:
    options = {
        "data": {"folder": str(synthetic_folder), "batch_size": 1000},
        "model": {"embedding_dim": 4, "bottom_mlp": [13, 4], "top_mlp": [5, 1], "learning_rate": 0.5},
        "trainer": {
            **{"max_epochs": 1, "logger": False, "accelerator": "cpu", "enable_progress_bar": False},
            **{"default_root_dir": str(tmp_path / "run"), "enable_model_summary": False, "num_sanity_val_steps": 0},
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.mark.untraced
def test_import_test_fit_and_export(
    reference: Path, synthetic_folder: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tmp_path / "ours.ckpt"
    assert run("import-checkpoint", "--upstream", reference, "--output", ours, "--data", synthetic_folder) == 0
    text = capsys.readouterr().out
    assert f"dataset fingerprint  {DatasetFolder.open(synthetic_folder).fingerprint}" in text
    assert "from tb00.pt of upstream (legacy format)" in text
    assert "iter 70, epoch 0, test_acc 0.9" in text
    assert run("test", "-c", config, "--ckpt_path", ours) == 0
    first = re.search(r"test_log_loss\s+│\s+([\d.]+)", capsys.readouterr().out)
    assert first is not None
    assert run("fit", "-c", config, "--ckpt_path", ours, "--model.learning_rate", "0.25") == 0
    (trained,) = (tmp_path / "run").rglob("*.ckpt")
    checkpoint = read_checkpoint(trained)
    start = read_checkpoint(ours)["state_dict"]
    # Training started at step 0 from these weights, with the given learning rate.
    assert checkpoint["global_step"] == 8
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.25
    difference = checkpoint["state_dict"]["model.top_mlp.0.weight"] - start["model.top_mlp.0.weight"]
    assert 0 < difference.abs().max() < 0.5
    assert run("import-checkpoint", "--ckpt_path", trained, "--to_upstream", tmp_path / "back.pt") == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert torch.equal(back["state_dict"]["top_l.0.weight"], checkpoint["state_dict"]["model.top_mlp.0.weight"])


def test_wrong_use_is_refused(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ("--output", tmp_path / "x.ckpt")
    expect_error(capsys, "needs --upstream PATH and --output", "import-checkpoint")
    expect_error(capsys, "needs --upstream PATH and --output", "import-checkpoint", "--upstream", reference)
    expect_error(
        capsys, "to convert back", "import-checkpoint", "--upstream", reference, *output, "--ckpt_path", reference
    )
    for option in ("--to_upstream", "--to_torchrec"):
        message = f"{option} is given with --ckpt_path only"
        expect_error(capsys, message, "import-checkpoint", "--ckpt_path", "a", option, "b", "--counts", "c")
    both = ("--to_upstream", "b", "--to_torchrec", "c")
    expect_error(capsys, "either --to_upstream", "import-checkpoint", "--ckpt_path", "a", *both)
    expect_error(
        capsys,
        "state the same thing",
        "import-checkpoint",
        "--upstream",
        reference,
        *output,
        "--data",
        "a",
        "--counts",
        "b",
    )
    expect_error(
        capsys, r"nothing\.pt: does not exist", "import-checkpoint", "--upstream", tmp_path / "nothing.pt", *output
    )
    expect_error(capsys, "is a folder, not a file", "import-checkpoint", "--upstream", reference, "--output", tmp_path)
    expect_error(capsys, "is the input file", "import-checkpoint", "--upstream", reference, "--output", reference)
    expect_error(
        capsys,
        "there is no such dataset",
        "import-checkpoint",
        "--upstream",
        reference,
        *output,
        "--data",
        tmp_path / "no",
    )
    assert not (tmp_path / "x.ckpt").exists()


def test_counts_are_compared(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [
        len(table) for name, table in torch.load(reference, weights_only=False)["state_dict"].items() if "emb" in name
    ]
    for change, status in ((0, 0), (1, 2)):
        np.savez(tmp_path / "day_fea_count.npz", counts=np.array([*sizes[:3], sizes[3] + change, *sizes[4:]]))
        options = (
            "--upstream",
            reference,
            "--output",
            tmp_path / "x.ckpt",
            "--counts",
            tmp_path / "day_fea_count.npz",
        )
        assert run("import-checkpoint", *options, "--overwrite") == status
    error = capsys.readouterr().err
    assert re.search(
        rf"day_fea_count\.npz: .*table 3: the dataset has {sizes[3] + 1} rows, the model {sizes[3]}", error
    )


def test_a_reference_file_in_the_place_of_ours_is_explained(
    reference: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("test", "fit"):
        assert run(command, "-c", config, "--ckpt_path", reference) == 2
        expected = r"tb00\.pt: is a checkpoint of facebookresearch/dlrm\. Import it first"
        assert re.search(expected, capsys.readouterr().err)
    assert run("inspect", reference) == 2
    assert "import-checkpoint --upstream" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["dot", "dcn"])
def test_torchrecs_state_dict_comes_and_goes(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torchrec_state(V1 if kind == "dot" else V2, "module.")
    torch.save(state, tmp_path / "theirs.pt")
    assert run("import-checkpoint", "--upstream", tmp_path / "theirs.pt", "--output", tmp_path / "ours.ckpt") == 0
    assert run("import-checkpoint", "--ckpt_path", tmp_path / "ours.ckpt", "--to_torchrec", tmp_path / "back.pt") == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert {f"module.{name}" for name in back} == set(state)
    assert all(torch.equal(tensor, state[f"module.{name}"]) for name, tensor in back.items())
    assert run("inspect", tmp_path / "theirs.pt") == 2
    expected = r"theirs\.pt: is a checkpoint of TorchRec's DLRM\. Import it first: `.* --upstream"
    assert re.search(expected, capsys.readouterr().err)


def test_torchrecs_model_scores_bags_that_are_drawn_of_its_days(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files have single ids, which is all that they say of bags."""
    torch.save(torchrec_state(V2), tmp_path / "theirs.pt")
    write_days(tmp_path / "days", sizes=V2.table_sizes)
    imported = ("import-checkpoint", "--upstream", tmp_path / "theirs.pt", "--output", tmp_path / "ours.ckpt")
    bags = ("--multi_hot_sizes", "[2,1,3]")
    expect_error(capsys, r"--multi_hot_sizes .* give --data", *imported, *bags)
    expect_error(
        capsys, r"multi_hot_sizes has 2 sizes, but .* has 3 tables", *imported, "--data", tmp_path / "days",
        "--multi_hot_sizes", "[2,1]",
    )  # fmt: skip
    assert run(*imported, *bags, "--data", tmp_path / "days") == 0
    shape = {name: value for name, value in V2.to_dict().items() if name not in ("table_sizes", "loss_threshold")}
    data = {"folder": str(tmp_path / "days"), "table_sizes": list(V2.table_sizes), "multi_hot_sizes": [2, 1, 3]}
    config = {"model": shape, "data": data, "trainer": {"accelerator": "cpu", "logger": False}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert run("test", "-c", tmp_path / "run.yaml", "--ckpt_path", tmp_path / "ours.ckpt") == 0
    assert "test_auroc" in capsys.readouterr().out


def test_bags_are_drawn_of_single_ids_in_any_dataset(reference: Path, synthetic_folder: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(synthetic_folder, tmp_path / "data"))
    bags = [2] + [1] * (len(DatasetFolder.open(data).table_sizes) - 1)
    options = ("--upstream", reference, "--output", tmp_path / "ours.ckpt", "--data", data, "--multi_hot_sizes", bags)
    assert run("import-checkpoint", *options) == 0
    drawn = DatasetFolder.open(data, stated=StatedTables.of_options(None, bags, None))
    assert drawn.fingerprint != DatasetFolder.open(data).fingerprint
    assert read_checkpoint(tmp_path / "ours.ckpt")["dlrm_pl"]["dataset_fingerprint"] == drawn.fingerprint


def test_torchrecs_model_scores_its_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The days do not state the number of rows of each table, but the checkpoint does."""
    torch.save(torchrec_state(V2), tmp_path / "theirs.pt")
    write_days(tmp_path / "days", sizes=V2.table_sizes, bags=(2, 1, 3))
    imported = ("import-checkpoint", "--upstream", tmp_path / "theirs.pt", "--output", tmp_path / "ours.ckpt")
    assert run(*imported, "--data", tmp_path / "days") == 0
    assert read_checkpoint(tmp_path / "ours.ckpt")["dlrm_pl"]["dataset_fingerprint"]
    shape = {name: value for name, value in V2.to_dict().items() if name not in ("table_sizes", "loss_threshold")}
    data = {"folder": str(tmp_path / "days"), "table_sizes": list(V2.table_sizes)}
    config = {"model": shape, "data": data, "trainer": {"accelerator": "cpu", "logger": False}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert run("test", "-c", tmp_path / "run.yaml", "--ckpt_path", tmp_path / "ours.ckpt") == 0
    assert "test_auroc" in capsys.readouterr().out
    write_days(tmp_path / "others", sizes=(6, 5, 10), bags=(2, 1, 3), seed=2)
    (tmp_path / "ours.ckpt").unlink()
    expect_error(
        capsys, r"others.*table 2: the id is 9, but the table has 9 rows", *imported, "--data", tmp_path / "others"
    )
    assert not (tmp_path / "ours.ckpt").exists()


def test_folders_in_the_place_of_a_checkpoint_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    golden = ROOT / "tests" / "model" / "upstream" / "torchrec" / "golden"
    for folder in ("v2_dcp", "v2_snapshot"):
        assert run("test", "-c", "quickstart", "--ckpt_path", golden / folder) == 2
        assert re.search(rf"{folder}: is a folder of torch.distributed.* Import it first", capsys.readouterr().err)


# Large checkpoints.


def large(path: Path, kind: str) -> dict[int, torch.Tensor]:
    """Two tables of 2.5 GB, so that sizes and offsets need more than 32 bits; returns the nonzero rows."""
    rows = {0: torch.arange(64.0), 9_999_999: torch.full((64,), 2.0)}
    state: dict[str, Any] = {f"emb_l.{table}.weight": Sparse((10_000_000, 64), rows) for table in range(2)}
    for name, shape in {"bot_l.0": (64, 13), "top_l.0": (1, 64 + 3)}.items():
        state |= {f"{name}.weight": torch.full(shape, 0.5), f"{name}.bias": torch.ones(shape[0])}
    save_sparse({"iter": 1, "state_dict": state, "test_acc": 0.5}, path, kind)
    return rows


LIMITED = """
import resource, sys
import torch
from dlrm_pl.cli.main import main
from dlrm_pl.model.upstream import exporting as reference_export
from dlrm_pl.model.upstream import importing as reference_import
torch.set_num_threads(1)
used = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")][0] << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (256 << 20),) * 2)
try:
    torch.empty(300 << 20, dtype=torch.uint8)
except RuntimeError:
    pass
else:
    sys.exit("the limit has no effect")
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["legacy", "zip"])
def test_five_gigabytes_are_imported_and_exported_in_256_megabytes(tmp_path: Path, kind: str) -> None:
    rows = large(tmp_path / "ref.pt", kind)
    limited = (sys.executable, "-c", LIMITED, "import-checkpoint")
    files = [tmp_path / name for name in ("ref.pt", "ours.ckpt", "back.pt")]
    subprocess.run([*limited, "--upstream", files[0], "--output", files[1]], check=True, timeout=250, cwd=ROOT)
    subprocess.run([*limited, "--ckpt_path", files[1], "--to_upstream", files[2]], check=True, timeout=250, cwd=ROOT)
    assert files[2].stat().st_size > 5_000_000_000
    loaded = torch.load(files[2], weights_only=True, mmap=True)
    for row in (0, 1, 9_999_999):
        assert torch.equal(loaded["state_dict"]["emb_l.1.weight"][row], rows.get(row, torch.zeros(64)))
    assert torch.equal(loaded["state_dict"]["bot_l.0.weight"], torch.full((64, 13), 0.5))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_import_that_is_ended_leaves_no_checkpoint(tmp_path: Path, number: signal.Signals, status: int) -> None:
    large(tmp_path / "ref.pt", "legacy")
    command = (sys.executable, ROOT / "cli.py", "import-checkpoint")
    options = ("--upstream", tmp_path / "ref.pt", "--output", tmp_path / "ours.ckpt")
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 250
    while not any(path.stat().st_size > 1 << 28 for path in tmp_path.glob(".ours.ckpt*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=250)
    assert process.returncode == status
    assert not (tmp_path / "ours.ckpt").exists()
    if number == signal.SIGINT:
        assert "Interrupted. No partial output was left" in error
        assert os.listdir(tmp_path) == ["ref.pt"]
        return
    # The next run removes what a killed run left.
    assert len(os.listdir(tmp_path)) == 2
    subprocess.run([*command, *options], check=True, timeout=200)
    assert sorted(os.listdir(tmp_path)) == ["ours.ckpt", "ref.pt"]
