"""`benchmark` as a user runs it: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import pytest
import torch

from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.benchmark.rivals import choice
from dlrm_pl.benchmark.rivals.choice import NAMES
from dlrm_pl.cli import main as cli
from dlrm_pl.cli.commands.benchmark import Rival
from dlrm_pl.model.load import load_dlrm
from tests.support.artifacts import change
from tests.support.commands import expect_error, run

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]

SHORT = ("--seconds", "0.01", "--threads", "[1]", "--batch_sizes", "[64]")


@pytest.fixture(autouse=True)
def _without_inductor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile for the interpreter: Inductor takes half a minute; tests/benchmark/test_compare.py checks its logits."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **rest: compiled(model, backend="eager", **rest))


def test_artifact_beside_its_float_model(
    fitted: Path,
    synthetic_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    arguments = ("benchmark", "--artifact", fitted / "artifact", "--ckpt_path", fitted / "run" / "model.ckpt")
    assert run(*arguments, "--data", synthetic_folder, *SHORT, "--output", output) == 0
    text, errors = capsys.readouterr()
    assert (
        "6 contenders, 1 combination of batch size and threads, 0.01 s for each: 0 s of timing, and 2 compil" in errors
    )
    for words in ("1 thread", "batch 64", "fp32 compiled", "bf16 compiled", "int8 MLPs, eager", "x fp32 eager"):
        assert words in text
    assert "test rows of" in text
    assert "integer ops of one forward pass, counted: " in text
    assert "bytes read (table rows per sample + weights per batch): int8 " in text
    assert max(len(line) for line in text.splitlines() if line.startswith((" fp32", " bf16", " int8"))) <= 80
    report = json.loads((output / "benchmark.json").read_text())
    cells = report["comparison"]["cells"]
    best = cells[0]["best_rival"]
    assert f"fastest rival, batch 64, 1 thread: {best['label']}; int8 is {best['times']:.2f} times as fast" in text
    assert [cell["batch_size"] for cell in cells] == [64]
    names = ["fp32", "fp32_compiled", "bf16", "bf16_compiled", "eager_int8", "int8"]
    assert [list(cell["timings"]) for cell in cells] == [names]
    assert {"p50_ms", "p90_ms", "p99_ms", "ratio", "ratio_interval"} <= cells[0]["timings"]["int8"].keys()
    assert report["machine"]["processor"]
    assert sum(report["int8_ops"].values()) > 0
    assert report["row_bytes"]["fp32"] == 26 * 8 * 4
    page = (output / "benchmark.html").read_text()
    assert "With batches of 64 on 1 thread, the " in page
    drawing = ElementTree.parse(output / "benchmark.svg").getroot()
    assert drawing.tag.endswith("svg")


@pytest.mark.slow
def test_rivals_that_are_not_installed_are_named_with_what_installs_them(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(modules: dict[str, str]) -> str:
        return f"{', '.join(modules.values())}: install dlrm-pl[rivals]"

    monkeypatch.setattr(choice, "missing_packages", missing)
    arguments = ("benchmark", "--artifact", fitted / "artifact", "--ckpt_path", fitted / "run" / "model.ckpt", *SHORT)
    assert run(*arguments, "--rivals", "[pt2e,onnxruntime]", "--output", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "not available: PT2E int8: torchao: install dlrm-pl[rivals]" in text
    assert "not available: ORT int8 dynamic: onnx, onnxscript, onnxruntime: install dlrm-pl[rivals]" in text
    stored = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert len(stored["comparison"]["unavailable"]) == 4
    assert "PT2E int8: Torchao: install dlrm-pl[rivals]." in (tmp_path / "out" / "benchmark.html").read_text()


def test_rivals_are_programs_beside_a_float_model(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("benchmark", "--artifact", fitted / "artifact", *SHORT)
    expect_error(capsys, "Rivals serve the float model.*--ckpt_path", *arguments, "--rivals", "all")
    expect_error(capsys, "rivals", *arguments, "--rivals", "[tensorrt]")
    expect_error(capsys, "Leave out --rivals", *arguments, "--rivals", "all", "--mlperf", "offline")
    assert get_args(Rival) == NAMES


def test_artifact_alone_and_again_into_the_same_folder(
    fitted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        assert run("benchmark", "--artifact", fitted / "artifact", *SHORT, "--output", tmp_path / "out") == 0
    text = capsys.readouterr().out
    other = ("benchmark", "--artifact", fitted / "artifact", *SHORT, "--seconds", 3, "--output", tmp_path / "out")
    expect_error(capsys, r"out: holds a benchmark, made differently: seconds changed from .* to 3\.0", *other)
    assert "Give --ckpt_path to compare" in text
    assert "random rows, uniform over each table" in text
    assert "samples per second" in (tmp_path / "out" / "benchmark.svg").read_text()


def test_nothing_is_written_without_output(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("benchmark", "--artifact", fitted / "artifact", *SHORT) == 0
    assert list(tmp_path.iterdir()) == []


def test_quiet_announces_nothing(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("benchmark", "--artifact", fitted / "artifact", *SHORT, "-q") == 0
    printed = capsys.readouterr()
    assert printed.out
    assert printed.err == ""


def test_help_is_listed_and_needs_no_torch() -> None:
    assert "benchmark" in cli.ORDER
    program = (
        "import sys\nfrom dlrm_pl.cli.main import main\ntry: main(['benchmark', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--batch_sizes" in result.stdout


def test_output_that_holds_something_else(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    arguments = ("benchmark", "--artifact", fitted / "artifact", *SHORT, "--output", tmp_path)
    expect_error(capsys, "holds files that this command did not write", *arguments)


def test_no_artifact_and_numbers_that_measure_nothing(
    fitted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expect_error(capsys, "not an artifact", "benchmark", "--artifact", tmp_path)
    good = ("benchmark", "--artifact", fitted / "artifact")
    expect_error(capsys, r"batch_sizes=\[0\]", *good, "--batch_sizes", "[0]")
    expect_error(capsys, r"threads=\[0\]", *good, "--threads", "[0]")
    expect_error(capsys, r"seconds=0", *good, "--seconds", "0")


def test_checkpoint_and_dataset_of_another_model(
    fitted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifact = Path(shutil.copytree(fitted / "artifact", tmp_path / "artifact"))
    for name in ("certificate.json", "manifest.json"):
        change(artifact, name, ("model_fingerprint",), "0" * 16)
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    expect_error(capsys, "was made from 0000000000000000", "benchmark", "--artifact", artifact, *checkpoint)
    assert run("synthesize", "--output", tmp_path / "other", "--rows", 3000, "--max_table_size", 20) == 0
    message = r"table 0 has \d+ rows, but \d+ in the artifact "
    expect_error(capsys, message, "benchmark", "--artifact", artifact, "--data", tmp_path / "other")


def test_checkpoint_of_other_rows_that_the_fingerprint_does_not_see(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlrm_pl.artifact.fingerprint._ROWS", 2)  # The first and the last row.
    checkpoint = torch.load(fitted / "run" / "model.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.embedding_bags.tables.3.weight"][1] += 1
    torch.save(checkpoint, tmp_path / "other.ckpt")
    fingerprint = model_fingerprint(load_dlrm(tmp_path / "other.ckpt"))
    artifact = Path(shutil.copytree(fitted / "artifact", tmp_path / "artifact"))
    for name in ("certificate.json", "manifest.json"):
        change(artifact, name, ("model_fingerprint",), fingerprint)
    message = r"other\.ckpt: its checksum is blake3:\w{64}, but the artifact"
    expect_error(capsys, message, "benchmark", "--artifact", artifact, "--ckpt_path", tmp_path / "other.ckpt", *SHORT)


needs_loadgen = pytest.mark.skipif(find_spec("mlperf_loadgen") is None, reason="mlcommons-loadgen is not installed")


@pytest.fixture
def _few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run send few queries."""
    from dlrm_pl.benchmark.mlperf import harness

    monkeypatch.setitem(harness._MIN_QUERIES, "offline", 100)


@needs_loadgen
@pytest.mark.usefixtures("_few_queries")
def test_mlperf_offline_with_accuracy(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ("benchmark", "--artifact", fitted / "artifact", "--mlperf", "offline", "--duration_s", "0.2")
    data = ("--threads", "[1]", "--data", synthetic_folder, "--mlperf_accuracy", "true", "--output", output)
    checkpoints = ((), ("--ckpt_path", fitted / "run" / "model.ckpt"))
    found = []
    for checkpoint in checkpoints:
        # Exit status 2, because the small model lost more than 0.1 %, which is not the subject of this test.
        assert run(*arguments, *data, *checkpoint) in (0, 2)
        found.append(json.loads((output / "mlperf.json").read_text())["accuracy"])
    assert found[0] == pytest.approx(found[1], abs=1e-6)  # The certificate states the checkpoint's AUROC.
    text = capsys.readouterr().out
    assert "MLPerf offline" in text
    assert f"AUROC {found[0]['auroc']:.6f}" in text
    certificate = json.loads((fitted / "artifact" / "certificate.json").read_text())
    assert found[0]["auroc"] == pytest.approx(certificate["int8"]["auroc"], abs=1e-6)
    assert found[0]["pairs"] == 2000
    names = {path.name for path in output.iterdir()}
    assert {"mlperf.json", "mlperf_log_accuracy.json", "mlperf_log_summary.txt"} <= names
    assert "Mode     : PerformanceOnly" in (output / "mlperf_log_summary.txt").read_text()


@pytest.mark.slow
@needs_loadgen
def test_mlperf_run_that_is_not_valid_says_so_and_is_kept(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A hundred queries are too few for a 99th percentile.
    arguments = ("benchmark", "--artifact", fitted / "artifact", "--mlperf", "server", "--duration_s", "0.5")
    message = r"INVALID: .*queries.* Give a different --target_qps or a longer --duration_s"
    rate = ("--target_qps", "200", "--threads", "[1]", "--output", tmp_path / "out")
    expect_error(capsys, message, *arguments, *rate)
    assert json.loads((tmp_path / "out" / "mlperf.json").read_text())["result"]["valid"] is False


@needs_loadgen
@pytest.mark.slow
@pytest.mark.usefixtures("_few_queries")
def test_mlperf_by_the_rules_of_version_2_on_val(
    fitted: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("benchmark", "--artifact", fitted / "artifact", "--mlperf", "offline", "--duration_s", "0.2")
    rules = ("--mlperf_version", "v2", "--mlperf_split", "val", "--mlperf_samples", "3")
    data = ("--threads", "[1]", "--data", synthetic_folder, "--mlperf_accuracy", "true", "--output", tmp_path / "out")
    expect_error(capsys, r"of test, not of all \d+ of val. Give --ckpt_path", *arguments, *rules, *data)
    checkpoint = ("--ckpt_path", fitted / "run" / "model.ckpt")
    assert run(*arguments, *rules, *data, *checkpoint) in (0, 2)
    report = json.loads((tmp_path / "out" / "mlperf.json").read_text())
    assert report["rules"] == {"version": "v2", "server_latency_s": 0.060, "fp32_auroc": 0.8031}
    assert report["rows"] == f"val rows of {synthetic_folder}"
    assert report["result"]["run"]["latency_s"] == 0.060
    assert report["accuracy"]["mlperf_auroc"] == pytest.approx(0.802297, abs=5e-7)
    assert "MLPerf offline, DLRM v2" in capsys.readouterr().out


def test_mlperf_options_that_cannot_work(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ("benchmark", "--artifact", fitted / "artifact", "--mlperf", "offline", "--output", tmp_path / "out")
    if find_spec("mlperf_loadgen") is not None:
        expect_error(capsys, "needs labels: give --data", *good, "--mlperf_accuracy", "true")
        expect_error(capsys, r"duration_s=0", *good, "--duration_s", "0")
        expect_error(capsys, r"target_qps=-1", *good, "--target_qps", "-1")
        expect_error(capsys, r"loaded_samples=0", *good, "--mlperf_samples", "0")
        expect_error(capsys, r"single number of threads, .*\[1, 2\]", *good, "--threads", "[1,2]")
        expect_error(capsys, "Give --output, a folder", *good[:-2])
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    expect_error(capsys, r'pip install "dlrm-pl\[mlperf\]"', *good)
