"""The command as a user runs it; the real command line reads and runs its YAML."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrm_pl.cli import main as cli
from dlrm_pl.data.synthetic.synthesize import synthesize
from tests.support.commands import run

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs"

# Lightning warns about a short run's logging interval and about checkpoints that are already there.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

# The published commands as in their documents; the first has a space after a backslash.
SEED = r"""
  cd examples/pytorch/recommendation
  python -u dlrm_s_pytorch_tune.py --arch-sparse-feature-size=128 --arch-mlp-bot="13-512-256-128" \
        --arch-mlp-top="1024-1024-512-256-1" --max-ind-range=40000000 --data-generation=dataset \
        --data-set=terabyte --raw-data-file=${data_path}/day \ 
        --processed-data-file=${data_path}/terabyte_processed.npz --loss-function=bce --round-targets=True \
        --learning-rate=1.0 --mini-batch-size=2048 --print-freq=2048 --print-time --test-freq=102400 \
        --test-mini-batch-size=16384 --test-num-workers=16 --memory-map --mlperf-logging \
        --mlperf-auc-threshold=0.8025 --mlperf-bin-loader --mlperf-bin-shuffle \
        --load-model=${model_path} --tune
"""
MLPERF = """
python dlrm_s_pytorch.py --arch-sparse-feature-size=128 --arch-mlp-bot="13-512-256-128"
 --arch-mlp-top="1024-1024-512-256-1" --max-ind-range=40000000 --data-generation=dataset --data-set=terabyte
 --raw-data-file=./input/day --processed-data-file=./input/terabyte_processed.npz --loss-function=bce
 --round-targets=True --learning-rate=1.0 --mini-batch-size=2048 --print-freq=2048 --print-time --test-freq=102400
 --test-mini-batch-size=16384 --test-num-workers=16 --memory-map --mlperf-logging --mlperf-auc-threshold=0.8025
 --mlperf-bin-loader --mlperf-bin-shuffle $dlrm_extra_option 2>&1 | tee run_terabyte_mlperf_pt.log
"""
KAGGLE = """
$dlrm_pt_bin --arch-sparse-feature-size=16 --arch-mlp-bot="13-512-256-64-16" --arch-mlp-top="512-256-1"
 --data-generation=dataset --data-set=kaggle --raw-data-file=./input/train.txt
 --processed-data-file=./input/kaggleAdDisplayChallenge_processed.npz --loss-function=bce --round-targets=True
 --learning-rate=0.1 --mini-batch-size=128 --print-freq=1024 --print-time --test-mini-batch-size=16384
 --test-num-workers=16 $dlrm_extra_option 2>&1 | tee run_kaggle_pt.log
"""


def print_config(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    """Return a configuration with all values, by the real command line."""
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, args), "--print_config"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return yaml.safe_load(captured.out)  # type: ignore[no-any-return]


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Return values by their paths; a callback's path contains its class."""
    if isinstance(node, dict):
        parts = node.items()
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        parts = ((entry["class_path"].rsplit(".", 1)[1], entry.get("init_args", {})) for entry in node)
    else:
        return {path: node}
    return {key: value for name, child in parts for key, value in flat(child, f"{path}.{name}".lstrip(".")).items()}


def translated(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> tuple[dict[str, Any], list[str], str]:
    """Return the complete configuration, the commands, and the messages."""
    path = tmp_path / "run.yaml"
    assert run("from-dlrm-flags", "--output", path, "--", text) == 0
    captured = capsys.readouterr()
    commands = [line for line in captured.out.splitlines() if not line.startswith("#")]
    return flat(print_config(capsys, "fit", "-c", path)), commands, captured.err


def different(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}


# Not from flags: folder names; and the experiments use a GPU if there is one, which is --use-gpu.
OWN = {"data.folder", "trainer.accelerator"}


def test_mlperf_command_gives_the_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    got, commands, said = translated(tmp_path, capsys, MLPERF.replace("$dlrm_extra_option", ""))
    expected = flat(print_config(capsys, "fit", "-c", CONFIGS / "experiment" / "terabyte.yaml"))
    assert different(got, expected) == OWN
    folder = "./input/terabyte_processed"
    assert commands == [
        f"python cli.py preprocess --raw ./input/day --output {folder} --max_ind_range 40000000",
        f"python cli.py fit -c {tmp_path}/run.yaml",
        f"python cli.py test -c {tmp_path}/run.yaml --ckpt_path runs/terabyte/best.ckpt",
    ]
    assert "run_terabyte_mlperf_pt.log: is not part of the run" in said


def test_kaggle_command_gives_the_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The published plots have tests in between; the script's own command line leaves this to the extra option.
    got, commands, _ = translated(tmp_path, capsys, KAGGLE.replace("$dlrm_extra_option", "--test-freq=10240"))
    expected = flat(print_config(capsys, "fit", "-c", CONFIGS / "experiment" / "kaggle.yaml"))
    assert different(got, expected) == OWN
    folder = "./input/kaggleAdDisplayChallenge_processed"
    assert commands[0] == (
        f"python cli.py preprocess --raw ./input/train.txt --output {folder} --layout kaggle --max_ind_range 0"
    )


def test_kaggle_command_as_published_never_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    got, commands, _ = translated(tmp_path, capsys, KAGGLE.replace("$dlrm_extra_option", ""))
    assert got["trainer.limit_val_batches"] == 0
    assert commands[-1] == f"python cli.py fit -c {tmp_path}/run.yaml"


def test_seed_command_gives_the_experiment_and_its_quantization(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, commands, said = translated(tmp_path, capsys, SEED)
    experiment, seed = CONFIGS / "experiment" / "terabyte.yaml", CONFIGS / "quantization" / "lpot_example.yaml"
    expected = flat(print_config(capsys, "fit", "-c", experiment, "-c", seed))
    # MLPerf logs come only from trainings with the main script.
    logging = {path for path in expected if "MLPerfLogging" in path}
    assert different(got, expected) == OWN | logging | {"trainer.callbacks.QuantizationCallback.output"}
    folder = "${data_path}/terabyte_processed"
    assert commands == [
        f"python cli.py preprocess --raw ${{data_path}}/day --output {folder} --max_ind_range 40000000",
        f"python cli.py import-checkpoint --upstream ${{model_path}} --output ${{model_path}}.ckpt --data {folder}",
        f"python cli.py quantize -c {tmp_path}/run.yaml --ckpt_path ${{model_path}}.ckpt --data.folder {folder}",
    ]
    assert "a backslash followed by a space" in said
    for name in ("--round-targets=True", "--test-num-workers=16", "--print-time", "--tune"):
        assert f"\n{name}: " in said


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("--tune", ["preprocess", "import-checkpoint", "quantize"]),
        ("--int8 --benchmark", ["preprocess", "import-checkpoint", "benchmark"]),
        ("--tune --int8 --benchmark", ["preprocess", "import-checkpoint", "quantize", "benchmark"]),
    ],
)
def test_seed_command_tunes_and_benchmarks(
    flags: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, commands, said = translated(tmp_path, capsys, SEED.replace("--tune", flags))
    assert [shlex.split(command)[2] for command in commands] == names
    assert ("fp32 was benchmarked" in said) == (flags == "--int8 --benchmark")
    if "--benchmark" in flags:
        assert "--artifact ./saved_results" in commands[-1]
        assert commands[-1].endswith("--batch_sizes '[16384]'")


def test_words_of_a_shell_give_what_the_text_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("from-dlrm-flags", "--", MLPERF) == 0
    of_text = capsys.readouterr().out
    assert run("from-dlrm-flags", "--", *shlex.split(MLPERF.partition("$dlrm_extra")[0])) == 0
    assert capsys.readouterr().out == of_text


def test_output_is_one_yaml_with_the_commands_as_comments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("from-dlrm-flags", "--", MLPERF) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text).keys() == {"seed_everything", "model", "data", "trainer"}
    assert text.startswith("# python cli.py fit -c run.yaml\n")
    assert "#   python cli.py preprocess --raw ./input/day" in text


def test_text_on_the_input_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(SEED))
    assert run("from-dlrm-flags", "--") == 0
    assert "learning_rate: 1.0" in capsys.readouterr().out


def test_refusal_is_exit_status_2_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    assert (
        run("from-dlrm-flags", "--output", path, "--", MLPERF.replace("$dlrm_extra_option", "--qr-flag --save-onnx"))
        == 2
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: This command line (of dlrm_s_pytorch.py of facebookresearch/dlrm)")
    assert "\n  --qr-flag: " in captured.err
    assert "\n  --save-onnx: " in captured.err
    assert not path.exists()


def test_flags_without_the_dashes_in_front_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("from-dlrm-flags", "python", "dlrm_s_pytorch.py", "--nepochs=1") == 2
    assert "Put `--` in front" in capsys.readouterr().err


def test_a_second_run_replaces_the_yaml_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "run.yaml"
    assert run("from-dlrm-flags", "--output", path, "--", MLPERF) == 0
    assert run("from-dlrm-flags", "--output", path, "--", MLPERF, "--nepochs=3") == 2  # Two words, one the whole line.
    other = MLPERF.replace("$dlrm_extra_option", "--nepochs=3")
    assert run("from-dlrm-flags", "--output", path, "--", MLPERF) == 0  # The same text.
    assert run("from-dlrm-flags", "--output", path, "--", other) == 2
    assert "run.yaml: already exists. Give --overwrite" in capsys.readouterr().err
    assert run("from-dlrm-flags", "--output", path, "--overwrite", "--", other) == 0
    assert yaml.safe_load(path.read_text())["trainer"]["max_epochs"] == 3
    assert [entry.name for entry in path.parent.iterdir()] == ["run.yaml"]
    capsys.readouterr()


def test_running_it_does_not_import_torch() -> None:
    program = (
        "import sys\nfrom dlrm_pl.cli.main import main\n"
        f"assert main(['from-dlrm-flags', '--', {MLPERF!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=250)


def test_commands_train_test_and_quantize(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All commands of a training and of a tuning, run one after another as printed."""
    logs = tmp_path / "logs"
    synthesize(logs, rows=6_000, days=3, seed=1, label_rate=0.2, best_auroc=0.85, max_table_size=50, format="raw")
    common = (
        "--arch-sparse-feature-size=8 --arch-mlp-bot=4-16-8 --arch-mlp-top=16-1 --data-generation=dataset "
        "--data-set=terabyte --raw-data-file=logs/day --processed-data-file=made.npz --loss-function=bce "
        "--learning-rate=1.0 --mini-batch-size=64 --test-mini-batch-size=256 --memory-map --mlperf-logging"
    )
    train = f"dlrm_s_pytorch.py --num-batches=20 --test-freq=10 --mlperf-bin-loader --save-model=kept/m.pt {common}"
    tune = f"dlrm_s_pytorch_tune.py --load-model=reference.pt --tune --tuned_checkpoint=int8 {common}"
    monkeypatch.chdir(tmp_path)
    assert run_printed(train, capsys) == ["preprocess", "fit", "test"]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"m.ckpt", "last.ckpt"}
    assert run("import-checkpoint", "--ckpt_path", "kept/m.ckpt", "--to_upstream", "reference.pt") == 0
    assert run_printed(tune, capsys) == ["preprocess", "import-checkpoint", "quantize"]
    assert (tmp_path / "int8" / "certificate.json").is_file()


def run_printed(text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run the printed commands; returns their names."""
    capsys.readouterr()
    assert run("from-dlrm-flags", "--output", "run.yaml", "--overwrite", "--", text) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    commands = [words[2:] for words in lines]
    for words in commands:
        assert run(*words) in (0, 3, 4), words  # 3, 4: so small a model may lose more than 1 %, or test be too small.
    return [words[0] for words in commands]
