"""The commands as a user runs them: what they write, print and return."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import SafetensorError

from dlrm_pl.artifact.manifest import file_sha256
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.cli import main as cli
from dlrm_pl.data.formats.binary_format import RECORD_BYTES, open_records, split_file_name
from dlrm_pl.data.formats.dataset_folder import DatasetFolder, describe

ROOT = Path(__file__).parents[2]

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(*args: object) -> int:
    """Run a command in this process; usage errors of the parser come as SystemExit."""
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave logging as it was, whatever a command configured."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers


@contextmanager
def caplog_of(name: str) -> Iterator[list[str]]:
    """The messages of a logger, as pytest's own would be if commands did not set up logging."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger(name).removeHandler(handler)


def write_config(folder: Path, data: Path, **callback: object) -> Path:
    """A complete run on a small dataset."""
    config = {
        "seed_everything": 1,
        "model": {"embedding_dim": 8, "bottom_mlp": [13, 16, 8], "top_mlp": [16, 1], "learning_rate": 0.5},
        "data": {"folder": str(data), "batch_size": 64, "eval_batch_size": 512},
        "trainer": {
            "default_root_dir": str(folder / "run"),  # Where the resolved configuration goes.
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": 1,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
            "callbacks": [
                {
                    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
                    "init_args": {
                        "dirpath": str(folder / "run"),
                        "filename": "model",
                        "enable_version_counter": False,
                    },
                },
                {
                    "class_path": "dlrm_pl.callbacks.quantization.QuantizationCallback",
                    "init_args": {"output": str(folder / "artifact"), "criterion": {"relative": 0.05}} | callback,
                },
            ],
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Path:
    """A folder with config.yaml, run/model.ckpt and artifact/, made by `fit`."""
    folder = tmp_path_factory.mktemp("fitted")
    assert run("fit", "-c", write_config(folder, synthetic_folder)) == 0
    return folder


def test_a_program_collects_garbage_while_a_command_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    working = []

    def inspect(path: str) -> None:
        working.append(gc.isenabled())

    monkeypatch.setitem(cli.LIGHT, "inspect", inspect)
    monkeypatch.setattr(sys, "argv", ["cli.py", "inspect", str(tmp_path)])
    try:
        assert cli.program() == 0
        assert working == [True]
        monkeypatch.setattr(sys, "argv", ["cli.py", "nothing"])
        assert cli.program() == 2
        assert not gc.isenabled()  # Nothing was loaded, and the process would end here.
    finally:
        gc.unfreeze()
        gc.enable()


def test_help_lists_every_command_without_importing_torch() -> None:
    program = "import sys; from dlrm_pl.cli.main import main; main(['--help']); assert 'torch' not in sys.modules"
    text = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    for name in cli.ORDER:
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE)


@pytest.mark.parametrize(
    "command", ["synthesize", "preprocess", "verify", "inspect", "from-dlrm-flags", "predict --artifact x"]
)
def test_help_of_light_commands_does_not_import_torch(command: str) -> None:
    program = (
        "import sys\nfrom dlrm_pl.cli.main import main\n"
        f"try: main({[*command.split(), '--help']!r})\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_overview_says_what_the_docstrings_say() -> None:
    from dlrm_pl.trainer import DLRMTrainer

    for name, summary in cli.TRAINER.items():
        assert (getattr(DLRMTrainer, name).__doc__ or "").splitlines()[0] == summary


def test_fit_trains_quantizes_and_certifies(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = json.loads((fitted / "artifact" / "certificate.json").read_text())
    assert certificate["accepted"]
    assert certificate["fp32"]["auroc"] > 0.55
    assert certificate["rows"] == 2000
    assert run("inspect", fitted / "artifact") == 0
    assert run("inspect", fitted / "run" / "model.ckpt") == 0
    text = capsys.readouterr().out
    assert "accepted" in text
    assert "bottom MLP  13-16-8" in text


def test_inspect_describes_every_table(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows in the checkpoint and in the artifact, but for rounding."""
    tables = []
    for path, dtype, row_bytes in ((fitted / "run" / "model.ckpt", "float32", 32), (fitted / "artifact", "int8", 12)):
        assert run("inspect", path) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        first = next(i for i, line in enumerate(lines) if line[:2] == ["table", "rows"]) + 1
        found = [
            [float(cell.replace(",", "")) for cell in (*line[:3], *line[4:])] for line in lines[first : first + 26]
        ]
        assert {line[3] for line in lines[first : first + 26]} == {dtype}
        assert [line[0] for line in found] == list(range(26))
        assert all(line[3] == line[1] * row_bytes for line in found)
        tables.append(np.array(found)[:, [1, 4, 5, 6, 7]])
    np.testing.assert_allclose(tables[0], tables[1], rtol=0.02)
    weights = torch.load(fitted / "run" / "model.ckpt", weights_only=True)["state_dict"]
    norms = [weights[f"model.embedding_bags.tables.{table}.weight"].norm(dim=1) for table in range(26)]
    np.testing.assert_allclose(tables[0][:, 2], [norm.max() for norm in norms], rtol=1e-3)


def test_quantize_after_load_gives_what_quantize_after_fit_gave(fitted: Path, tmp_path: Path) -> None:
    status = run(
        *("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt"),
        *("--output", tmp_path / "again"),
    )
    assert status == 0
    for name in ("model.safetensors",):
        assert file_sha256(tmp_path / "again" / name) == file_sha256(fitted / "artifact" / name)


def test_two_ranks_train_the_model_that_one_trains(synthetic_folder: Path, tmp_path: Path) -> None:
    states = []
    for ranks in (1, 2):
        (folder := tmp_path / str(ranks)).mkdir()
        config = write_config(folder, synthetic_folder)
        fit = ["fit", "-c", config, "--data.shuffle", "none", "--data.batch_size", str(64 // ranks)]
        if ranks == 1:  # In this process, as one who knows of no ranks trains.
            assert run(*fit) == 0
        else:
            command = [sys.executable, ROOT / "cli.py", *fit, "--trainer.devices", str(ranks)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            ended = subprocess.run(
                [*command, "--trainer.strategy", "ddp"],
                *(), env=environment, capture_output=True, text=True, timeout=250, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stderr
        assert run("verify", "--artifact", folder / "artifact", "--data", synthetic_folder) == 0
        states.append(torch.load(folder / "run" / "model.ckpt", weights_only=True)["state_dict"])
    for name, weight in states[0].items():
        torch.testing.assert_close(states[1][name], weight, msg=lambda text, name=name: f"{name}: {text}")


def test_verify_recomputes_the_certificate(
    fitted: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("verify", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert "certified: relative loss of AUROC" in shown
    assert "not measured: the fp32 model, and so the loss and the guards" in shown
    assert run(*arguments, "--ckpt_path", fitted / "run" / "model.ckpt") == 0
    assert "measured anew: relative loss of AUROC" in capsys.readouterr().out


def test_predict_with_artifact_gives_the_certified_auroc(fitted: Path, synthetic_folder: Path, tmp_path: Path) -> None:
    from dlrm_pl.metrics.auroc import exact_auroc

    output = tmp_path / "p.npy"
    assert run("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder, "--output", output) == 0
    labels = open_records(synthetic_folder / split_file_name("test"))[:, 0]
    certificate = json.loads((fitted / "artifact" / "certificate.json").read_text())
    assert exact_auroc(np.load(output), labels) == pytest.approx(certificate["int8"]["auroc"], abs=1e-9)


def test_predict_scores_a_raw_log_as_the_same_rows_of_the_dataset(tmp_path: Path) -> None:
    options = ("--rows", 3000, "--days", 2, "--label_rate", 0.2, "--max_table_size", 50)
    assert run("synthesize", "--output", tmp_path / "data", *options) == 0
    assert run("synthesize", "--output", tmp_path / "raw", "--format", "raw", *options) == 0
    assert run("fit", "-c", write_config(tmp_path, tmp_path / "data")) in (0, 3, 4)
    common = ("predict", "--artifact", tmp_path / "artifact", "--data", tmp_path / "data")
    assert run(*common, "--split", "train", "--output", tmp_path / "a.csv") == 0
    assert run(*common, "--raw", tmp_path / "raw" / "day_0", "--output", tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    fp32 = ("predict", "-c", tmp_path / "config.yaml", "--ckpt_path", tmp_path / "run" / "model.ckpt")
    raw = ("--data.predict_raw", tmp_path / "raw" / "day_0", "--output", tmp_path / "c.csv")
    assert run(*fp32, *raw) == 0
    # From here on without the rows that the model was trained on: the dictionaries are enough.
    for path in [*(tmp_path / "data").glob("*.bin"), *(tmp_path / "data").glob("*.blocks")]:
        path.unlink()
    # Without the labels, as Kaggle's test file is.
    rows = (tmp_path / "raw" / "day_0").read_text().splitlines()
    (tmp_path / "test.txt").write_text("\n".join(row.split("\t", 1)[1] for row in rows))
    assert run(*common, "--raw", tmp_path / "test.txt", "--output", tmp_path / "d.csv") == 0
    assert run(*fp32, "--data.predict_raw", tmp_path / "test.txt", "--output", tmp_path / "e.csv") == 0
    assert (tmp_path / "d.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert (tmp_path / "e.csv").read_text() == (tmp_path / "c.csv").read_text()
    int8, float_ = (np.loadtxt(tmp_path / name, skiprows=1) for name in ("a.csv", "c.csv"))
    assert np.abs(int8 - float_).max() < 0.05


def test_predict_counts_the_categories_that_it_does_not_know(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    unknown = []
    # C3 is missing in some rows of the dataset, so a missing one is known; of other tables it need not be.
    for value in ("", "fffffff1"):
        fields = ["", *["3"] * 13, "", "", value, *[""] * 23]
        (tmp_path / "new.tsv").write_text("\t".join(fields) + "\n")
        assert run(*arguments, "--raw", tmp_path / "new.tsv", "--output", tmp_path / "p.csv", "--overwrite") == 0
        text = capsys.readouterr().out
        assert "1 click probabilities" in text
        found = re.search(r"^(\d+) category values are not in the vocabulary", text, re.MULTILINE)
        unknown.append(int(found[1]) if found else 0)
    assert unknown[1] == unknown[0] + 1


@pytest.mark.parametrize("command", ["validate", "test"])
def test_lightning_commands_run_on_a_checkpoint(fitted: Path, command: str) -> None:
    assert run(command, "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt") == 0


def test_predict_with_a_checkpoint_writes_its_probabilities(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    assert run(*arguments, "--output", tmp_path / "p.npy") == 0
    probabilities = np.load(tmp_path / "p.npy")
    assert probabilities.dtype == np.float32
    assert 0 < probabilities.min() < probabilities.max() < 1
    expect_error(capsys, "give --output FILE.csv or FILE.npy", *arguments)
    expect_error(capsys, "give --trainer.devices 1", *arguments, "--output", "p.npy", "--trainer.devices", 2)


def test_hyperparameters_of_the_checkpoint_win_over_files_and_flags(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["model"] = {"embedding_dim": 4, "bottom_mlp": [13, 4], "top_mlp": [1]}
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(config))
    status = run("test", "-c", other, "--ckpt_path", fitted / "run" / "model.ckpt", "--model.embedding_dim", 2)
    assert status == 0


def test_print_config_shows_the_whole_run(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", "-c", fitted / "config.yaml", "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["embedding_dim"] == 8
    assert printed["trainer"]["use_distributed_sampler"] is False


def explanations(text: str) -> dict[str, str]:
    """Of each option in the text of a help, what stands beside it, but for its types and defaults."""
    found = {}
    for entry in re.split(r"^(?=  -)", text, flags=re.MULTILINE)[1:]:
        if name := re.match(r"  (?:-\w \w+, )?--([\w.]+)(?:[^\n]*?  +| [^\n]*\n +)", entry):
            words = " ".join(entry[name.end() :].split("\n\n")[0].split())
            found[name[1]] = words.partition("(required" if "(required" in words else "(type:")[0].strip()
    return found


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fit", r"(model|data)\.\w+|ckpt_path|weights_only"),
        ("quantize", r"(model|data)\.\w+|output|relative|absolute|timeout_s|max_trials|strategy|objective|until|seed"),
        ("predict", r"data\.predict_\w+|output"),
        ("synthesize", r"\w+"),
        ("preprocess", r"\w+"),
        ("verify", r"\w+"),
        ("fit --trainer.callbacks.help dlrm_pl.QuantizationCallback", r"trainer\.callbacks\.\S+"),
        ("fit --trainer.callbacks.help dlrm_pl.MLPerfLogging", r"trainer\.callbacks\.\S+"),
    ],
)
def test_every_key_of_ours_is_explained_by_help(command: str, options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), *([] if "help" in command else ["--help"])) == 0
    ours = {name: words for name, words in explanations(capsys.readouterr().out).items() if re.fullmatch(options, name)}
    assert len(ours) > 2
    assert [name for name, words in ours.items() if not words] == []


class PenaltyForTop:
    """A score of the user's own, by class path: every int8 Linear of the top MLP costs the same."""

    def __init__(self, cost: float) -> None:
        self.cost = cost

    def __call__(self, model: torch.nn.Module) -> float:
        dtypes: dict[str, str] = getattr(model, "op_dtypes", {})
        return 0.9 - self.cost * sum(dtype == "int8" for op, dtype in dtypes.items() if op.startswith("top_mlp"))


def test_eval_func_by_class_path_decides_which_ops_fall_back(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["trainer"]["callbacks"][-1]["init_args"] |= {
        "output": str(tmp_path / "a"),
        "criterion": {"absolute": 0.01},
        "eval_func": {"class_path": "tests.cli.test_cli.PenaltyForTop", "init_args": {"cost": 0.008}},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    assert run("quantize", "-c", tmp_path / "own.yaml", *checkpoint) == 0
    recipe = json.loads((tmp_path / "a" / "certificate.json").read_text())["recipe"]
    # Two cost too much, one does not.
    assert sorted(recipe["top_mlp"]) == ["bf16", "int8"]
    assert set(recipe["tables"]) | set(recipe["bottom_mlp"]) == {"int8"}


def test_tight_tolerance_makes_ops_fall_back(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    # No variants, so that what helps is that ops fall back.
    space = {"observers": ["minmax"], "activation_schemes": ["affine"], "weight_granularities": ["per_channel"]}

    def trials(tolerance: float) -> list[dict[str, Any]]:
        criterion = {"absolute": tolerance, "log_loss": None, "calibration_ratio": None}
        config["trainer"]["callbacks"][-1]["init_args"] |= {"criterion": criterion, "max_trials": 60, "space": space}
        (tmp_path / "tight.yaml").write_text(yaml.safe_dump(config))
        checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
        assert run(
            "quantize", "-c", tmp_path / "tight.yaml", *checkpoint, "--output", tmp_path / "a", "--overwrite"
        ) in (0, 3, 4)
        return [json.loads(line) for line in (tmp_path / "a" / "trials.jsonl").read_text().splitlines()]

    bounds = [trial["bound"] for trial in trials(0.0)]
    assert len(bounds) > 10
    tolerance = max(min(bounds), 0.0) + 1e-9
    # One that a later recipe meets, and the first, all int8, does not.
    assert bounds[0] > tolerance
    tried = trials(tolerance)
    first = next(number for number, bound in enumerate(bounds) if bound <= tolerance)
    assert [trial["accepted"] for trial in tried] == [False] * first + [True]
    recipe = tried[-1]["recipe"]
    assert {"bf16", "fp16", "fp32"} & {*recipe["bottom_mlp"], *recipe["top_mlp"], *recipe["tables"]}


def test_rows_that_cannot_tell_give_status_4_and_save_the_best(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(
        *("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt"),
        *("--output", tmp_path / "best", "--absolute", 0, "--max_trials", 2),
    )
    assert status == 4
    assert json.loads((tmp_path / "best" / "manifest.json").read_text())["accepted"] is False
    result = json.loads((tmp_path / "best" / "result.json").read_text())
    assert (result["outcome"], result["accepted"]) == ("undecided", False)
    assert result["rows_needed"] > 2000
    assert (
        f"UNDECIDED: 2,000 rows of test are too few to tell; about {result['rows_needed']:,} would"
        in capsys.readouterr().out
    )
    assert run("verify", "--artifact", tmp_path / "best", "--data", synthetic_folder) == 0
    assert "certified as UNDECIDED: 2,000 rows of test are too few" in capsys.readouterr().out


def test_synthesize_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    options = ("--rows", 2000, "--max_table_size", 30)
    sums = []
    for _ in range(2):
        assert run("synthesize", "--output", tmp_path / "data", *options) == 0
        sums.append([file_sha256(tmp_path / "data" / split_file_name(split)) for split in ("train", "val", "test")])  # type: ignore[arg-type]
    assert sums[0] == sums[1]


# Bad input: status 2, one message that says what, where, which value and what to do, nothing half-written.


def expect_error(capsys: pytest.CaptureFixture[str], message: str, *args: object) -> None:
    assert run(*args) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert error.count("error: ") == 1
    assert "usage:" not in error


def test_missing_dataset(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, tmp_path / "nowhere")
    expect_error(capsys, r"nowhere: there is no such dataset folder", "fit", "-c", config)


def test_truncated_bin(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    path = dataset_copy / split_file_name("train")
    path.write_bytes(path.read_bytes()[:-7])
    expect_error(capsys, "not a whole number of 160-byte records", "fit", "-c", write_config(tmp_path, dataset_copy))


def test_records_lost_at_the_end(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    path = dataset_copy / split_file_name("val")
    path.write_bytes(path.read_bytes()[:-RECORD_BYTES])
    message = r"has 1999 records, dataset\.json says 2000"
    expect_error(capsys, message, "fit", "-c", write_config(tmp_path, dataset_copy))


def test_counts_of_another_dataset(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("synthesize", "--output", other, "--rows", 3000, "--max_table_size", 20, "--label_rate", 0.2) == 0
    capsys.readouterr()
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    message = r"table 0: .* \d+ rows, .* \d+"
    expect_error(capsys, message, "test", "-c", fitted / "config.yaml", *checkpoint, "--data.folder", other)
    expect_error(capsys, message, "verify", "--artifact", fitted / "artifact", "--data", other)


def damage(folder: Path, split: str, record: int, column: int, value: int) -> None:
    path = folder / split_file_name(split)  # type: ignore[arg-type]
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[record, column] = value
    records.tofile(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 2, "record 77: the label is 2, 0 or 1"),
        (4, -5, "record 77: dense field I4 is -5"),
        (14 + 3, 100_000, r"record 77: table 3 has \d+ rows, the index is 100000"),
        (14 + 3, -1, r"record 77: table 3 has \d+ rows, the index is -1"),
    ],
)
def test_record_that_cannot_be(
    capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path, column: int, value: int, message: str
) -> None:
    damage(dataset_copy, "train", 77, column, value)
    (dataset_copy / "dataset.json").unlink()  # Which knows what the rows were.
    expect_error(capsys, message, "fit", "-c", write_config(tmp_path, dataset_copy))
    assert not (tmp_path / "artifact").exists()


def test_empty_split(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    (dataset_copy / split_file_name("test")).write_bytes(b"")
    expect_error(capsys, r"test\.bin: is empty", "fit", "-c", write_config(tmp_path, dataset_copy))


def test_single_class_val_split(capsys: pytest.CaptureFixture[str], dataset_copy: Path, tmp_path: Path) -> None:
    path = dataset_copy / split_file_name("val")
    records = np.fromfile(path, dtype="<i4").reshape(-1, 40)
    records[:, 0] = 0
    records.tofile(path)
    (dataset_copy / "dataset.json").unlink()
    message = "all 2000 labels of the val split are 0"
    expect_error(capsys, message, "fit", "-c", write_config(tmp_path, dataset_copy))


def test_loss_that_is_no_number(capsys: pytest.CaptureFixture[str], synthetic_folder: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, synthetic_folder)
    expect_error(capsys, r"loss .*(nan|inf)", "fit", "-c", config, "--model.learning_rate", 1e30)
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_checkpoint_that_is_none(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    expect_error(capsys, r"bad\.ckpt: ", "quantize", "-c", fitted / "config.yaml", "--ckpt_path", path)


def test_checkpoint_of_another_program(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
    expect_error(capsys, r"other\.ckpt", "test", "-c", fitted / "config.yaml", "--ckpt_path", path)


def test_hostile_checkpoint_is_not_run(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    import torch

    path, trace = tmp_path / "hostile.ckpt", tmp_path / "it-ran"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (eval, (f"open({str(trace)!r}, 'w')",))

    torch.save({"state_dict": Hostile()}, path)
    expect_error(capsys, r"hostile\.ckpt", "quantize", "-c", fitted / "config.yaml", "--ckpt_path", path)
    assert not trace.exists()


def test_missing_checkpoint(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    path = tmp_path / "no.ckpt"
    expect_error(capsys, r"no\.ckpt: does not exist", "test", "-c", fitted / "config.yaml", "--ckpt_path", path)
    expect_error(capsys, "needs a trained model: give --ckpt_path", "quantize", "-c", fitted / "config.yaml")


def test_tampered_artifact(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    artifact = Path(shutil.copytree(fitted / "artifact", tmp_path / "artifact"))
    weights = bytearray((artifact / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (artifact / "model.safetensors").write_bytes(weights)
    for command in ("verify", "predict"):
        message = r"model\.safetensors: was changed after it was written"
        expect_error(capsys, message, command, "--artifact", artifact, "--data", synthetic_folder)


def reseal_certificate(artifact: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the certificate as a hand that knows of the checksums would."""
    from dlrm_pl.artifact.manifest import Manifest

    path = artifact / "certificate.json"
    certificate = json.loads(path.read_text())
    change(certificate)
    path.write_text(json.dumps(certificate))
    manifest = Manifest.read(artifact)
    manifest.files["certificate.json"] = file_sha256(path)
    manifest.write(artifact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["int8"].update(auroc=c["int8"]["auroc"] + 0.01),
            r"contradicts itself: auroc_loss \S+, but fp32\.auroc - int8\.auroc is",
        ),
        (
            lambda c: c["int8_ops"].update({"int8_linear": 5}),
            r"One forward pass ran the integer ops .*int8_linear': 4.*, certified are .*int8_linear': 5",
        ),
        (lambda c: c.update(rows=1999), "contradicts itself: rows 1999, but row_ranges.certification has 2000"),
    ],
)
def test_certificate_that_claims_too_much(
    capsys: pytest.CaptureFixture[str],
    fitted: Path,
    synthetic_folder: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    artifact = Path(shutil.copytree(fitted / "artifact", tmp_path / "artifact"))
    reseal_certificate(artifact, change)
    expect_error(capsys, message, "verify", "--artifact", artifact, "--data", synthetic_folder)


def test_dataset_of_other_categories(capsys: pytest.CaptureFixture[str], fitted: Path, dataset_copy: Path) -> None:
    """Tables of the same sizes, and so nothing else that could tell."""
    own = DatasetFolder.open(dataset_copy).fingerprint
    values = np.load(dataset_copy / "day_fea_dict_0.npz")["unique"]
    np.savez(dataset_copy / "day_fea_dict_0.npz", unique=values[::-1])
    other = describe(dataset_copy, max_ind_range=40_000_000, created_by="test").fingerprint
    for command in ("verify", "predict"):
        message = f"its fingerprint is {other}, .* made for {own}"
        expect_error(capsys, message, command, "--artifact", fitted / "artifact", "--data", dataset_copy)
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt", "--data.folder", dataset_copy)
    for command, *options in (("test",), ("quantize",), ("fit", "--overwrite")):
        message = f"trained on the dataset {own}, this one is {other}"
        expect_error(capsys, message, command, "-c", fitted / "config.yaml", *checkpoint, *options)
    assert (fitted / "artifact" / "certificate.json").is_file()


def test_other_dataset_by_force(
    capsys: pytest.CaptureFixture[str], fitted: Path, dataset_copy: Path, tmp_path: Path
) -> None:
    """Is scored all the same, said so, and stands in the certificate."""
    own = DatasetFolder.open(dataset_copy).fingerprint
    values = np.load(dataset_copy / "day_fea_dict_0.npz")["unique"]
    np.savez(dataset_copy / "day_fea_dict_0.npz", unique=values[::-1])
    other = describe(dataset_copy, max_ind_range=40_000_000, created_by="test").fingerprint
    checkpoint = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    data = ("--data.folder", dataset_copy, "--force", "true")
    assert run("test", *checkpoint, *data) == 0
    assert run("predict", *checkpoint, *data, "--output", tmp_path / "p.npy") == 0
    assert run("quantize", *checkpoint, *data, "--output", tmp_path / "forced") == 0
    said = f"The dataset is {other}, the model is for {own}"
    assert said in json.loads((tmp_path / "forced" / "certificate.json").read_text())["other_dataset"]
    assert json.loads((fitted / "artifact" / "certificate.json").read_text())["other_dataset"] == ""
    with caplog_of("dlrm_pl") as lines:
        for command in (["verify"], ["predict", "--output", tmp_path / "q.npy"]):
            artifact = ("--artifact", fitted / "artifact", "--data", dataset_copy, "--force", "true")
            assert run(*command, *artifact) == 0
            assert said in lines.pop()
    assert capsys.readouterr().err.count("error") == 0


def test_dataset_of_smaller_tables_by_force(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    counts = np.load(synthetic_folder / "day_fea_count.npz")["counts"]
    table, cap = int(counts.argmax()), int(counts.max()) - 1
    arguments = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    data = ("--data.folder", synthetic_folder, "--data.max_ind_range", cap)
    both = rf"table {table}: the checkpoint has {cap + 1} rows, the dataset {cap}"
    expect_error(capsys, both, "test", *arguments, *data)
    assert run("test", *arguments, *data, "--force", "true") == 0
    assert run("quantize", *arguments, *data, "--force", "true", "--output", tmp_path / "forced") in (0, 3, 4)
    certificate = json.loads((tmp_path / "forced" / "certificate.json").read_text())
    assert f"table {table}: the dataset has {cap} rows, the model {cap + 1}" in certificate["other_dataset"]


def test_dataset_of_larger_tables_is_refused_even_by_force(
    capsys: pytest.CaptureFixture[str], fitted: Path, dataset_copy: Path
) -> None:
    counts = np.load(dataset_copy / "day_fea_count.npz")["counts"]
    counts[0] += 1
    for path in (*dataset_copy.glob("day_fea_*"), dataset_copy / "dataset.json"):
        path.unlink()  # Without them it is a folder as MLPerf's own, which has counts alone.
    np.savez(dataset_copy / "day_fea_count.npz", counts=counts)
    arguments = ("-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    message = rf"table 0: the dataset has {counts[0]} rows, the model {counts[0] - 1}, so .* not even by force"
    expect_error(capsys, message, "test", *arguments, "--data.folder", dataset_copy, "--force", "true")


def test_damaged_rows_are_quantized_only_when_allowed(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(fitted / "run" / "model.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.embedding_bags.tables.3.weight"][:2, 1] = float("nan")
    torch.save(checkpoint, tmp_path / "damaged.ckpt")
    arguments = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", tmp_path / "damaged.ckpt")
    output = ("--output", tmp_path / "artifact")
    expect_error(capsys, r"table 3: 2 of [\d,]+ rows, the first is row 0.*allow_nonfinite", *arguments, *output)
    assert not (tmp_path / "artifact").exists()
    assert run(*arguments, *output, "--allow_nonfinite", "true") in (0, 3, 4)
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    assert manifest["nonfinite_rows"] == {"tables.3": 2}


def test_checkpoint_that_the_artifact_was_not_made_from(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(fitted / "run" / "model.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.top_mlp.0.bias"] += 1e-3
    torch.save(checkpoint, tmp_path / "other.ckpt")
    arguments = ("verify", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    message = r"other\.ckpt: its fingerprint is \w{16}, the artifact was made from \w{16}"
    expect_error(capsys, message, *arguments, "--ckpt_path", tmp_path / "other.ckpt")


def test_output_that_holds_something_else(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    arguments = ("--ckpt_path", fitted / "run" / "model.ckpt", "--output", tmp_path / "mine")
    expect_error(capsys, "mine: holds files", "quantize", "-c", fitted / "config.yaml", *arguments)
    expect_error(capsys, "mine: holds files", "synthesize", "--output", tmp_path / "mine", "--rows", 100)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_finished_work_is_replaced_only_when_asked(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    """Refused before the work, and in the same words; `fit` over its checkpoint, and over its artifact alone."""
    checkpoint, artifact = fitted / "run" / "model.ckpt", fitted / "artifact"
    before = {path: path.stat().st_mtime_ns for path in (checkpoint, *artifact.iterdir(), *synthetic_folder.iterdir())}
    end = ".*give --overwrite to replace it"
    expect_error(
        capsys, r"model\.ckpt: is the checkpoint of an earlier run.* --overwrite", "fit", "-c", fitted / "config.yaml"
    )
    (tmp_path / "artifact").symlink_to(artifact)
    expect_error(
        capsys,
        f"artifact: holds an artifact, of an earlier run{end}",
        "fit",
        "-c",
        write_config(tmp_path, synthetic_folder),
    )
    quantize = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", checkpoint)
    expect_error(capsys, rf"criterion\.relative was 0\.05, is now 0\.5{end}", *quantize, "--relative", 0.5)
    synthesize = ("synthesize", "--output", synthetic_folder, "--rows", 100)
    expect_error(capsys, f"holds a dataset, made otherwise: rows was 12000, is now 100{end}", *synthesize)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_predictions_replace_a_file_only_when_asked_and_go_into_a_pipe(
    capfd: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    predict = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder, "--output")
    (tmp_path / "p.csv").write_text("mine")
    assert run(*predict, tmp_path / "p.csv") == 2
    assert "p.csv: exists already. Give --overwrite" in capfd.readouterr().err
    assert (tmp_path / "p.csv").read_text() == "mine"
    assert run(*predict, tmp_path / "p.csv", "--overwrite") == 0
    capfd.readouterr()
    assert run(*predict, "/dev/stdout") == 0
    assert capfd.readouterr().out == (tmp_path / "p.csv").read_text()


def test_home_directory_is_found_in_options_and_in_yaml(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run("synthesize", "--output=~/clicks", "--rows", 100) == 0
    assert run("synthesize", "-c", write_yaml(tmp_path, {"output": "~/more", "rows": 100})) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"clicks", "more", "options.yaml"}
    config = write_config(tmp_path, Path("~/none"))
    expect_error(capsys, f"{tmp_path}/none: there is no such dataset folder", "fit", "--config=~/config.yaml")
    assert "~" in config.read_text()
    assert not (tmp_path / "~").exists()


def write_yaml(folder: Path, contents: dict[str, object]) -> Path:
    (folder / "options.yaml").write_text(yaml.safe_dump(contents))
    return folder / "options.yaml"


def test_output_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    expect_error(capsys, "cannot be written", "synthesize", "--output", tmp_path / "file" / "data", "--rows", 100)


def test_fit_learns_of_a_bad_output_before_it_trains(
    capsys: pytest.CaptureFixture[str], synthetic_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "notes.txt").write_text("keep")
    expect_error(capsys, "artifact: holds files", "fit", "-c", write_config(tmp_path, synthetic_folder))
    assert not (tmp_path / "run" / "model.ckpt").exists()


def test_full_disk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import errno

    from dlrm_pl.data.synthetic import synthesize as synthetic

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "train.bin")

    monkeypatch.setattr(synthetic, "describe", full)
    expect_error(capsys, r"disk is full: train\.bin", "synthesize", "--output", tmp_path / "data", "--rows", 100)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_under_a_file_is_told_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import errno

    from dlrm_pl.files import atomic

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "sync", full)
        expect_error(capsys, r"disk is full: .*/data\.", "synthesize", "--output", tmp_path / "data", "--rows", 100)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_under_an_artifact(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fitted: Path, tmp_path: Path
) -> None:
    from dlrm_pl.artifact import store

    def full(tensors: object, path: Path, **kwargs: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(store, "save_file", full)
    arguments = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, r"disk is full: .*safetensors", *arguments, "--output", tmp_path / "a")
    # Nothing but the log of the trials, from which the next run goes on.
    assert [path.name for path in tmp_path.iterdir()] == [".a.trials.jsonl"]
    monkeypatch.undo()
    assert run(*arguments, "--output", tmp_path / "a") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "nonsense"}, r"There is no strategy 'nonsense'\. The strategies are .*basic.*budget"),
        ({"max_trials": 0}, r"max_trials=0 must be at least 1"),
    ],
)
def test_setting_of_a_callback_that_it_refuses(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """One message, and not what the parser makes of it: none of these types, with all values it was given."""
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["trainer"]["callbacks"][-1]["init_args"] |= changes
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("fit", "quantize"):
        checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
        expect_error(capsys, message, command, "-c", tmp_path / "config.yaml", *checkpoint)


def test_full_disk_under_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fitted: Path, tmp_path: Path
) -> None:
    from dlrm_pl.quantization.ptq import table_packer as tables

    real, calls = tables.write_table, []

    def full(path: Path, *arguments: Any) -> str:
        calls.append(path)
        checksum = real(path, *arguments)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return checksum

    monkeypatch.setattr(tables, "write_table", full)
    arguments = ("quantize", "-c", fitted / "config.yaml", "--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, r"disk is full: .*table-02-int8", *arguments, "--output", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--trainer.val_check_interval", 100_000, r"\(100000\).* the training batches \(125\)\. Give --trainer"),
        ("--data.num_workers", -1, "data.num_workers=-1 must be 0"),
        ("--ckpt_path", "best", "'best': there is no such checkpoint: .* has saved none yet"),
    ],
)
def test_what_lightning_has_no_error_of_its_own_for(
    capsys: pytest.CaptureFixture[str], fitted: Path, option: str, value: object, message: str
) -> None:
    expect_error(capsys, message, "fit", "-c", fitted / "config.yaml", "--overwrite", option, value)


@pytest.mark.parametrize(
    ("option", "value", "message"), [("batch_size", 0, "batch_size=0 must"), ("tolerance", -1, "tolerance=-1.0 of")]
)
def test_verify_with_numbers_out_of_range(
    capsys: pytest.CaptureFixture[str],
    fitted: Path,
    synthetic_folder: Path,
    option: str,
    value: int,
    message: str,
) -> None:
    arguments = ("verify", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    expect_error(capsys, message, *arguments, f"--{option}", value)


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_raw_log_that_is_none(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "empty.tsv").write_text("")
    arguments = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    output = ("--output", tmp_path / f"p.{ending}")
    expect_error(capsys, r"empty\.tsv: is empty", *arguments, *output, "--raw", tmp_path / "empty.tsv")
    expect_error(capsys, r": is a folder", *arguments, *output, "--raw", tmp_path)
    expect_error(capsys, r"no\.tsv: there is no such raw log", *arguments, *output, "--raw", tmp_path / "no.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.tsv"]


def test_other_commands_leave_the_configuration_and_the_log_of_fit_alone(fitted: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    config["trainer"] |= {
        "logger": {
            "class_path": "pytorch_lightning.loggers.CSVLogger",
            "init_args": {"save_dir": str(tmp_path), "name": "log"},
        },
        "callbacks": config["trainer"]["callbacks"][:1],
    }
    config["trainer"]["callbacks"][0]["init_args"]["dirpath"] = str(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert run("fit", "-c", tmp_path / "c.yaml") == 0
    folder = tmp_path / "log" / "version_0"
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert {"config.yaml", "metrics.csv"} <= set(before)
    for command in ("validate", "test"):
        assert run(command, "-c", tmp_path / "c.yaml", "--ckpt_path", tmp_path / "model.ckpt") == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert [path.parent.name for path in (tmp_path / "log").rglob("config.yaml")] == ["version_0"]
    # The saved configuration is a run of its own, and a whole one; what it may replace is asked anew each time.
    assert "overwrite" not in yaml.safe_load(before["config.yaml"])
    assert run("fit", "-c", folder / "config.yaml", "--trainer.max_epochs", 0, "--overwrite") == 0


def test_configuration_that_cannot_be_saved(capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    root = ("--trainer.default_root_dir", tmp_path / "file" / "below")
    expect_error(capsys, r"config\.yaml: cannot be written", "fit", "-c", fitted / "config.yaml", *root, "--overwrite")


def test_file_that_may_not_be_read(
    capsys: pytest.CaptureFixture[str], fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by its mode: tests may run as root, who may read everything.
    real = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).endswith("model.ckpt"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, r"model\.ckpt: may not be read", "test", "-c", fitted / "config.yaml", *checkpoint)


def test_interrupt_that_a_library_made_another_error_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NumPy does when it is interrupted while it is imported."""

    def stopped_in_an_import(path: str) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    monkeypatch.setitem(cli.LIGHT, "inspect", stopped_in_an_import)
    assert run("inspect", "x") == 130
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_unknown_command_suggests_one(capsys: pytest.CaptureFixture[str]) -> None:
    expect_error(capsys, "no command 'quantise'. Did you mean 'quantize'", "quantise")


def test_unknown_ending_of_predictions(
    capsys: pytest.CaptureFixture[str], fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    arguments = ("predict", "--artifact", fitted / "artifact", "--data", synthetic_folder)
    expect_error(capsys, r"written as \.csv or \.npy", *arguments, "--output", tmp_path / "p.xls")


def test_nothing_to_inspect(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    expect_error(capsys, "does not exist", "inspect", tmp_path / "nothing")
    expect_error(capsys, "neither a dataset, a checkpoint nor an artifact", "inspect", tmp_path)


@pytest.mark.parametrize("preset", [None, "active"])
def test_threads_wait_without_spinning_unless_told_otherwise(preset: str | None) -> None:
    program = "import os, dlrm_pl.cli.main as cli; cli.main(['inspect', 'x']); print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": preset} if preset else {}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == (preset or "PASSIVE")


@pytest.mark.parametrize(
    ("stage", "stop", "status"),
    [
        ("synthesize", signal.SIGINT, 130),
        ("fit", signal.SIGINT, 130),
        ("fit", signal.SIGTERM, 143),
        ("predict", signal.SIGINT, 130),
    ],
)
def test_a_stopped_command_leaves_nothing_half_written(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, stage: str, stop: signal.Signals, status: int
) -> None:
    config = str(write_config(tmp_path, synthetic_folder))
    commands = {
        "synthesize": ["--output", str(tmp_path / "out"), "--rows", "100000000"],
        "fit": ["-c", config, "--trainer.max_epochs", "100000"],
        "predict": [
            *("--artifact", str(fitted / "artifact"), "--data", str(synthetic_folder), "--split", "train"),
            *("--batch_size", "1", "--output", str(tmp_path / "p.csv")),
        ],
    }
    # What the stage writes first; predict's has its process in the name.
    first = {"synthesize": ".out.tmp", "fit": "run", "predict": ".p.csv.*.tmp"}
    command = [stage, *commands[stage]]
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *command],
        env=os.environ | {"DLRM_PL_ISA": "fallback"},  # Slow, so that predict is far from its end.
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob(first[stage])) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob(first[stage]))
        time.sleep(0.3)
        process.send_signal(stop)
        _, error = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == status, error
    assert ("interrupted" in error) == (stop == signal.SIGINT)
    assert "Traceback" not in error
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"config.yaml", "run", "lightning_logs"}


def test_interrupted_search_ends_with_its_best_and_the_next_one_goes_on(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, synthetic_folder)
    command = ("quantize", "-c", config, "--ckpt_path", fitted / "run" / "model.ckpt", "--absolute", "0")
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path / ".artifact.trials.jsonl"
    try:
        deadline = time.monotonic() + 200
        while (not log.exists() or log.read_bytes().count(b"\n") < 3) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 4, error
    assert "going on with the best of" in error
    assert "Traceback" not in error
    artifact = load_artifact(tmp_path / "artifact")
    assert artifact.certificate.stopped_because == "it was interrupted"
    assert artifact.certificate.trials >= 2
    assert run(*command, "--max_trials", str(artifact.certificate.trials + 2)) == 4  # Undecided, on so few rows.
    assert f"going on after {artifact.certificate.trials} finished trials" in caplog.text
    again = load_artifact(tmp_path / "artifact").certificate
    assert again.trials == artifact.certificate.trials + 2
    assert not log.exists()
