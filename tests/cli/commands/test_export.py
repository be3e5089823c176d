"""`export` as a user runs it."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.export.export import export_artifact
from dlrm_pl.export.onnx.target import OnnxTarget
from tests.support.commands import expect_error, run

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture
def command(fitted: Path, synthetic_folder: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("export", "--artifact", fitted / "artifact", "--data", synthetic_folder, "--output", tmp_path / "out")


def test_export_checks_the_certified_rows_and_says_so_in_the_file(
    command: tuple[object, ...], fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--to", "onnx") == 0
    text = capsys.readouterr().out
    certificate = json.loads((fitted / "artifact" / "certificate.json").read_text())
    auroc = f"{certificate['int8']['auroc']:.6f}"
    assert f"{certificate['rows']:,} rows scored with opset 21" in text
    assert f"all logits equal, largest difference 0; AUROC {auroc}, artifact {auroc}" in text
    proto = onnx.load(tmp_path / "out" / "model.onnx")
    (metadata,) = (json.loads(entry.value) for entry in proto.metadata_props if entry.key == "dlrm_pl")
    assert metadata["certificate"] == certificate
    assert metadata["check"]["rows"] == certificate["rows"]
    assert metadata["columns"]["dense"][0] == {"name": "I1", "transform": "log1p"}
    stated = json.loads((tmp_path / "out" / "export.json").read_text())
    assert stated["files"] == ["model.onnx"]
    assert stated["check"] == metadata["check"]
    # A second run with the same settings writes it again; a check of fewer rows, or another format, would replace it.
    expect_error(capsys, r"rows changed from not given to 100.*--overwrite", *command, "--to", "onnx", "--rows", 100)
    expect_error(capsys, r"tolerance changed from 1e-06 to 0\.5", *command, "--to", "onnx", "--tolerance", 0.5)
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == stated
    assert run(*command, "--to", "onnx") == 0
    capsys.readouterr()
    other = (*command, "--to", "openvino")
    expect_error(capsys, r"out: .*target changed from .?onnx.? to .?openvino", *other)
    assert run(*other, "--overwrite") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["export.json", "model.bin", "model.xml"]
    assert "INFERENCE_PRECISION_HINT=f32" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "export.json").read_text())["check"]["largest_difference"] == 0
    assert "metadata" in (tmp_path / "out" / "model.xml").read_text()


def test_a_model_that_differs_is_not_written(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = OnnxTarget.logits_of
    monkeypatch.setattr(
        OnnxTarget, "logits_of", lambda self, folder, threads: lambda batch: real(self, folder, threads)(batch) + 1e-3
    )
    expect_error(capsys, r"a logit differs by 0\.001, but the tolerance is 1e-06\. Nothing was written", *command,
                 "--to", "onnx", "--rows", 64)  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    assert run(*command, "--to", "onnx", "--rows", 64, "--tolerance", 0.01) == 0


def test_a_full_disk_leaves_nothing(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    expect_error(capsys, "The disk is full: .*model.onnx", *command, "--to", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_read_whole_needs_memory_for_all_tables(
    command: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dlrm_pl.memory.available_bytes", lambda: 1000)
    words = r"of a pt2 file will need [\d.]+ KiB of memory, but only 1,000 bytes are available. Export to onnx or"
    expect_error(capsys, words, *command, "--to", "pt2")
    assert list(tmp_path.iterdir()) == []
    assert run(*command, "--to", "onnx", "--rows", 64) == 0


@pytest.mark.parametrize(
    ("target", "module", "extra"),
    [("onnx", "onnx", "onnx"), ("onnx", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")],
)
def test_a_missing_library_names_its_extra(
    command: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    expect_error(capsys, rf"needs {module} .*dlrm-pl\[{extra}\]", *command, "--to", target)


def test_wrong_settings(command: tuple[object, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    expect_error(capsys, r"tolerance=-1\.0 must be", *command, "--to", "onnx", "--tolerance=-1")
    expect_error(capsys, r"rows=1 must be at least 2", *command, "--to", "onnx", "--rows", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    expect_error(capsys, r"out: .*mine\.txt", *command, "--to", "onnx", "--overwrite")


def test_a_model_that_was_not_accepted_is_exported_on_request(
    fitted: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    artifact = load_artifact(fitted / "artifact")
    refused = replace(artifact.certificate, accepted=False, outcome="undecided", reason="too few rows")
    artifact = replace(artifact, certificate=refused)
    with pytest.raises(ConfigurationError, match=r"was not accepted \(undecided: too few rows\).*--allow_not_accepted"):
        export_artifact(artifact, "onnx", tmp_path / "out", synthetic_folder)
    exported = export_artifact(artifact, "onnx", tmp_path / "out", synthetic_folder, rows=10, allow_not_accepted=True)
    assert exported.check.rows == 10


def test_benchmark_times_exported_models_of_the_same_artifact(
    command: tuple[object, ...], fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--to", "onnx", "--rows", 64) == 0
    timed = (
        "benchmark",
        "--artifact",
        fitted / "artifact",
        "--batch_sizes",
        "[2]",
        "--threads",
        "[1]",
        "--seconds",
        0.01,
    )
    capsys.readouterr()
    assert run(*timed, "--exported", f"[{tmp_path / 'out'}]", "--json") == 0
    timings = json.loads(capsys.readouterr().out)["comparison"]["cells"][0]["timings"]
    assert timings.keys() == {"int8", "exported_onnx"}
    expect_error(capsys, "is not an exported model", *timed, "--exported", f"[{fitted / 'run'}]")
    twice = f"[{tmp_path / 'out'},{tmp_path / 'out'}]"
    expect_error(capsys, "is a second export to onnx", *timed, "--exported", twice)
    path = tmp_path / "out" / "export.json"
    path.write_text(path.read_text().replace('"weights": "', '"weights": "x'))
    expect_error(capsys, "was exported from an artifact", *timed, "--exported", f"[{tmp_path / 'out'}]")
