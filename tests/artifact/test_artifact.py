"""The saved model is the one that was scored; it loads without a float model, and not if it was modified."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dlrm_pl.artifact.writing.build as build_module
import dlrm_pl.artifact.writing.certified as certified_module
from dlrm_pl.artifact.digests import DIGESTS_NAME
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.summary import comparison, drop_line
from dlrm_pl.artifact.writing.build import build_artifact
from dlrm_pl.artifact.writing.outcome import Outcome
from dlrm_pl.data.loading.row_range import RowRange
from dlrm_pl.errors import (
    ArtifactError,
    CalibrationError,
    NonFiniteError,
    OutputError,
)
from dlrm_pl.quantization.judging.certification import Certification
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.runtime.int8_dlrm import count_int8_ops, fp32_bytes
from tests.support import tiny
from tests.support.artifacts import RANGES, build, data


def test_loaded_model_scores_bit_for_bit_as_the_one_that_was_tuned(outcome: Outcome) -> None:
    loaded = load_artifact(outcome.path)
    batch = tiny.batches(1, 500, seed=7)[0]
    torch.testing.assert_close(loaded.model(batch), outcome.tuning.model(batch), rtol=0, atol=0)


def test_a_loaded_model_may_be_written_to(artifact_path: Path) -> None:
    """A read-only map would end the process. The files and another model loaded from them do not change."""
    content = {path.name: path.read_bytes() for path in artifact_path.iterdir()}
    batch = tiny.batches(1, 500, seed=7)[0]
    model, other = load_artifact(artifact_path).model, load_artifact(artifact_path).model
    expected = other(batch)
    for number in range(3):
        model.tables.table(number).zero_()
    for layer in model.layers.values():
        layer.bias.fill_(1.0)
    assert not torch.equal(model(batch), expected)
    assert torch.equal(other(batch), expected)
    assert {path.name: path.read_bytes() for path in artifact_path.iterdir()} == content


def test_the_served_object_runs_the_certified_int8_ops(outcome: Outcome) -> None:
    loaded = load_artifact(outcome.path)
    ops = count_int8_ops(loaded.model, tiny.batches(1, 5)[0])
    assert ops == loaded.certificate.int8_ops == loaded.model.expected_int8_ops()
    assert ops == {"int8_interaction": 1, "int8_linear": 5, "int8_lookup": 3}


def test_model_that_does_not_run_its_int8_ops_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certified_module, "count_int8_ops", lambda *args: {"int8_linear": 4})
    message = r"ran the integer ops \{'int8_linear': 4\}, but its recipe has .*'int8_lookup': 3"
    with pytest.raises(ArtifactError, match=message):
        build(tmp_path / "a")
    # The search itself is kept: another run uses the log of its trials.
    assert [path.name for path in tmp_path.iterdir()] == [".a.trials.jsonl"]


def test_what_is_certified_was_loaded_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_load, real_certify = build_module.load_model, certified_module.certify
    loaded, certified = [], []

    def load(*args: Any, **options: Any) -> Any:
        loaded.append(real_load(*args, **options))
        return loaded[-1]

    monkeypatch.setattr(build_module, "load_model", load)
    monkeypatch.setattr(certified_module, "certify", lambda *args: certified.append(args[1]) or real_certify(*args))
    build(tmp_path / "a")
    assert len(loaded) == 1
    assert certified == loaded


def test_certificate_holds_what_was_measured(outcome: Outcome) -> None:
    certificate = load_artifact(outcome.path).certificate
    assert certificate == outcome.certificate
    assert certificate.rows == 3000
    assert certificate.auroc_drop == pytest.approx(certificate.fp32["auroc"] - certificate.int8["auroc"])
    assert certificate.auroc_drop_interval is not None
    low, high = certificate.auroc_drop_interval
    assert low < certificate.auroc_drop < high
    assert certificate.accepted
    assert certificate.row_ranges["tuning"] == {"split": "val", "start": 128, "stop": 2128}
    assert certificate.machine["torch"] == torch.__version__


def test_memory_is_stated_before_and_measured_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="dlrm_pl"):
        build(tmp_path / "a")
    assert caplog.messages[0].startswith("memory: all trials share the float model (")
    assert "memory-mapped if it was loaded from a file); disk: packed tables take " in caplog.messages[0]
    assert caplog.messages[-1].startswith("peak memory of this process")


def test_all_files_may_be_read_by_whom_the_user_lets(outcome: Outcome) -> None:
    modes = {path.name: path.stat().st_mode for path in outcome.path.iterdir()}
    assert len(modes) == 10
    assert len(set(modes.values())) == 1, modes


def test_trials_are_one_json_object_a_line(outcome: Outcome) -> None:
    lines = (outcome.path / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [trial.number for trial in outcome.tuning.trials]


def test_outcome_draws_the_trials_of_its_search(outcome: Outcome) -> None:
    figure, axes = outcome.plot()
    assert axes == figure.get_axes() != []
    assert axes[0].get_ylabel() == "model size, MiB"
    assert len(axes[0].containers) == len([trial for trial in outcome.tuning.trials if trial.verdict is not None])


def test_bytes_are_counted_as_they_are(outcome: Outcome) -> None:
    manifest = Manifest.read(outcome.path)
    assert manifest.fp32_bytes == fp32_bytes(tiny.model())
    assert manifest.table_bytes == sum(rows * 12 for rows in (40, 7, 25))  # Embedding dim 8: 8 bytes and a scale.
    used = [path for path in outcome.path.glob("*.safetensors") if path.name != DIGESTS_NAME]
    tensors = [t for path in used for t in load_file(path).values()]
    assert manifest.int8_bytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_loading_needs_no_torch_ao_and_no_float_model(outcome: Outcome) -> None:
    program = (
        "import sys; from dlrm_pl.artifact.store import load_artifact; "
        f"load_artifact({str(outcome.path)!r}); "
        "assert not {'dlrm_pl.quantization.ptq.torch_ao', 'pytorch_lightning', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)


def test_mixed_recipe_survives_the_round_trip(tmp_path: Path) -> None:
    from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
    from dlrm_pl.quantization.recipe import Recipe

    recipe = Recipe(("int8", "bf16"), ("fp32", "int8", "int8"), ("int4", "fp16", "fp32"))
    model = tiny.model()
    from dlrm_pl.artifact.tensors import from_tensors, to_tensors

    quantized = quantize(model, recipe, tiny.batches(2, 64), table_packer(model))
    tensors, ops = to_tensors(quantized)
    save_file(tensors, tmp_path / "weights")
    tables = quantized.tables.all()
    again = from_tensors(model.architecture, json.loads(json.dumps(ops)), load_file(tmp_path / "weights"), tables)
    batch = tiny.batches(1, 100)[0]
    torch.testing.assert_close(again(batch), quantized(batch), rtol=0, atol=0)
    assert again.op_dtypes == recipe.ops


def test_model_outside_the_tolerance_is_saved_and_marked(tmp_path: Path) -> None:
    outcome = build(tmp_path / "a", absolute=0.0)
    assert not outcome.certificate.accepted
    loaded = load_artifact(outcome.path)
    assert not loaded.manifest.accepted
    assert "with 95% confidence on all 2,000 rows" in loaded.certificate.reason


def test_drop_beyond_the_tolerance_on_the_certification_rows_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuning and certification use different rows, and the tuning rows may happen to look better."""
    real = certified_module.certify

    def unlucky(*args: Any) -> Certification:
        found = real(*args)
        int8 = dataclasses.replace(found.int8, auroc=found.fp32.auroc - 0.5)
        return dataclasses.replace(found, int8=int8, paired=dataclasses.replace(found.paired, difference=0.5))

    monkeypatch.setattr(certified_module, "certify", unlucky)
    outcome = build(tmp_path / "a")
    assert outcome.tuning.accepted
    loaded = load_artifact(outcome.path)
    assert not loaded.certificate.accepted
    assert not loaded.manifest.accepted
    assert re.search(
        r"AUROC drop 54\.9865% \(relative\), at least 54\.\d+% with 95% confidence", loaded.certificate.reason
    )
    assert "accepted on the tuning rows; on the certification rows: " in loaded.certificate.reason


def test_relative_tolerance_is_that_of_the_certified_auroc(outcome: Outcome) -> None:
    assert outcome.certificate.tolerance == pytest.approx(0.02 * outcome.certificate.fp32["auroc"])
    assert "tolerance 2.0000%" in drop_line(outcome.certificate)


def test_best_possible_auroc_of_synthetic_data_is_in_the_table(tmp_path: Path) -> None:
    settings = TuningSettings(criterion=Criterion(relative=0.02))
    outcome = build_artifact(tiny.model(), data(best_possible_auroc=0.912345), settings, tmp_path / "a")
    assert comparison(outcome.manifest, outcome.certificate)[-1] == ("best possible AUROC", "0.912345", "", "")


def test_table_for_people_has_both_models_side_by_side(outcome: Outcome) -> None:
    rows = {row[0]: row[1:] for row in comparison(outcome.manifest, outcome.certificate)}
    assert list(rows) == [
        *("AUROC", "log loss", "normalized entropy", "calibration ratio", "model bytes", "samples per second")
    ]
    assert rows["AUROC"][0] == f"{outcome.certificate.fp32['auroc']:.6f}"
    assert "at most 0.2462% with 95% confidence; tolerance 2.0000%: passed;" in drop_line(outcome.certificate)


def test_damaged_tables_stop_the_search_before_its_first_trial(tmp_path: Path) -> None:
    model = tiny.model()
    model.embedding_bags.weights()[1][3, 2] = float("nan")
    with pytest.raises(NonFiniteError, match=r"table 1: 1 of 7 rows, the first is row 3.*allow_nonfinite"):
        build_artifact(model, data(), TuningSettings(), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_damaged_tables_are_quantized_when_allowed_and_the_artifact_says_so(tmp_path: Path) -> None:
    model, clean = tiny.model(), tiny.model()
    model.embedding_bags.weights()[1][3, 2] = float("nan")
    clean.embedding_bags.weights()[1][3, 2] = 0.0
    model.embedding_bags.nonfinite_as_zero = True
    settings = TuningSettings(criterion=Criterion(relative=0.02))
    outcome = build_artifact(model, data(), settings, tmp_path / "a")
    assert outcome.manifest.nonfinite_rows == {"tables.1": 1}
    expected = build_artifact(clean, data(), settings, tmp_path / "b")
    assert expected.manifest.nonfinite_rows == {}
    assert outcome.certificate.fp32["auroc"] == expected.certificate.fp32["auroc"]
    assert outcome.certificate.int8["auroc"] == expected.certificate.int8["auroc"]


def test_too_small_a_disk_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(OutputError, match=r"packed tables need .*, but the disk has 100 bytes free"):
        build(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_serve_twice_are_rejected() -> None:
    ranges = RANGES | {"tuning": RowRange("val", 100, 2000)}
    with pytest.raises(
        CalibrationError, match=r"calibration \(val\[0:128\]\) and for tuning \(val\[100:2000\]\) overlap"
    ):
        data(row_ranges=ranges)


def test_eval_func_of_the_user_decides(tmp_path: Path) -> None:
    calls: list[str] = []

    def eval_func(model: torch.nn.Module) -> float:
        calls.append(type(model).__name__)
        return 0.75

    outcome = build_artifact(tiny.model(), data(), TuningSettings(), tmp_path / "a", eval_func=eval_func)
    assert calls == ["DLRM", "Int8DLRM"]
    assert "without a confidence bound" in outcome.certificate.reason


# Files that change while they are used.
