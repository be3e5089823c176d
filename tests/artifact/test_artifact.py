"""What is saved is what was scored, loads without a float model, and does not load when it was touched."""

import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dlrm_pl.artifact.build as build_module
import dlrm_pl.artifact.store as store_module
from dlrm_pl import inspection
from dlrm_pl.artifact.build import Outcome, build_artifact
from dlrm_pl.artifact.manifest import Manifest, file_sha256
from dlrm_pl.artifact.store import load_artifact, recognize_artifact
from dlrm_pl.artifact.summary import comparison, drop_line
from dlrm_pl.batch import ClickBatch
from dlrm_pl.data.loading.datamodule import RowRange
from dlrm_pl.errors import (
    ArtifactError,
    CalibrationError,
    CheckpointError,
    DatasetError,
    LookupIndexError,
    NonFiniteError,
    OutputError,
)
from dlrm_pl.model.weights_file import WeightsFile
from dlrm_pl.quantization.judging.certification import Certification
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.search.listener import TuningListener
from dlrm_pl.quantization.search.trial import Trial
from dlrm_pl.quantization.search.tune import TuningSettings
from dlrm_pl.runtime.int8_dlrm import count_int8_ops, fp32_bytes
from dlrm_pl.serving.predictor import Predictor
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.writer import write_torch_file
from tests.support import tiny
from tests.support.artifacts import RANGES, build, data


def rewrite_manifest(folder: Path, change: object) -> None:
    """Change the manifest and seal it again, as a tampering hand that knows the format would."""
    manifest = Manifest.read(folder)
    change(manifest)  # type: ignore[operator]
    manifest.write(folder)


def test_loaded_model_scores_bit_for_bit_as_the_one_that_was_tuned(outcome: Outcome) -> None:
    loaded = load_artifact(outcome.path)
    batch = tiny.batches(1, 500, seed=7)[0]
    torch.testing.assert_close(loaded.model(batch), outcome.tuning.model(batch), rtol=0, atol=0)


def test_a_loaded_model_may_be_written_to(artifact_path: Path) -> None:
    """What a read-only map would end the process for; the files stay as they are, and so does another model of them."""
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
    monkeypatch.setattr(build_module, "count_int8_ops", lambda *args: {"int8_linear": 4})
    message = r"ran the integer ops \{'int8_linear': 4\}, but its recipe means .*'int8_lookup': 3"
    with pytest.raises(ArtifactError, match=message):
        build(tmp_path / "a")
    # The search itself is not lost: the log of its trials stays for another run.
    assert [path.name for path in tmp_path.iterdir()] == [".a.trials.jsonl"]


def test_what_is_certified_was_loaded_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_load, real_certify = build_module.load_model, build_module.certify
    loaded, certified = [], []
    monkeypatch.setattr(build_module, "load_model", lambda *args: loaded.append(real_load(*args)) or loaded[-1])
    monkeypatch.setattr(build_module, "certify", lambda *args: certified.append(args[1]) or real_certify(*args))
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
    assert "are shared by all trials, a map of a file where it was loaded from one; disk: packed" in caplog.messages[0]
    assert caplog.messages[-1].startswith("peak memory of this process")


def test_all_files_may_be_read_by_whom_the_user_lets(outcome: Outcome) -> None:
    modes = {path.name: path.stat().st_mode for path in outcome.path.iterdir()}
    assert len(modes) == 9
    assert len(set(modes.values())) == 1, modes


def test_trials_are_one_json_object_a_line(outcome: Outcome) -> None:
    lines = (outcome.path / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [trial.number for trial in outcome.tuning.trials]


def test_bytes_are_counted_as_they_are(outcome: Outcome) -> None:
    manifest = Manifest.read(outcome.path)
    assert manifest.fp32_bytes == fp32_bytes(tiny.model())
    assert manifest.table_bytes == sum(rows * 12 for rows in (40, 7, 25))  # dim 8: 8 bytes and a scale
    tensors = [t for path in outcome.path.glob("*.safetensors") for t in load_file(path).values()]
    assert manifest.int8_bytes == sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_loading_needs_no_torch_ao_and_no_float_model(outcome: Outcome) -> None:
    program = (
        "import sys; from dlrm_pl.artifact.store import load_artifact; "
        f"load_artifact({str(outcome.path)!r}); "
        "assert not {'dlrm_pl.quantization.ptq.torch_ao', 'pytorch_lightning', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)


def test_second_run_replaces_the_first_and_gives_the_same_weights(tmp_path: Path) -> None:
    first = build(tmp_path / "a")
    weights = {path.name: file_sha256(path) for path in first.path.glob("*.safetensors")}
    assert len(weights) == 4
    second = build(tmp_path / "a")
    assert {path.name: file_sha256(path) for path in second.path.glob("*.safetensors")} == weights
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]  # nothing temporary is left


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
    assert "undecided on all 2,000 rows" in loaded.certificate.reason


def test_drop_beyond_the_tolerance_on_the_certification_rows_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuning and certification are different rows, and by chance the first may flatter."""
    real = build_module.certify

    def unlucky(*args: Any) -> Certification:
        found = real(*args)
        int8 = dataclasses.replace(found.int8, auroc=found.fp32.auroc - 0.5)
        return dataclasses.replace(found, int8=int8, paired=dataclasses.replace(found.paired, difference=0.5))

    monkeypatch.setattr(build_module, "certify", unlucky)
    outcome = build(tmp_path / "a")
    assert outcome.tuning.accepted
    loaded = load_artifact(outcome.path)
    assert not loaded.certificate.accepted
    assert not loaded.manifest.accepted
    assert re.search(
        r"relative AUROC drop is 54\.9865%, at least 54\.\d+% with 95% confidence", loaded.certificate.reason
    )
    assert "on the tuning rows the search accepted it, but the certification rows decide" in loaded.certificate.reason


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
    assert "at most 0.2462% with 95% confidence; tolerance 2.0000%: within;" in drop_line(outcome.certificate)


WEIGHTS = ["model.safetensors", "table-01-int8.safetensors"]


@pytest.mark.parametrize("name", [*WEIGHTS, "certificate.json", "trials.jsonl"])
def test_changed_file_is_rejected(artifact_path: Path, name: str) -> None:
    path = artifact_path / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name}: was changed after it was written"):
        load_artifact(artifact_path)


@pytest.mark.parametrize("name", ["table-00-int8.safetensors", "model.safetensors", "report.html"])
def test_inspect_compares_all_files_when_asked_and_says_so_when_not(
    artifact_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "all files by their checksums, and that the certificate agrees with itself and with them"
    assert f"checked   {whole}" in inspection.describe(artifact_path, full=True).splitlines()
    content = bytearray((artifact_path / name).read_bytes())
    content[-1] ^= 1
    (artifact_path / name).write_bytes(content)
    monkeypatch.setattr(store_module, "_QUICK_BYTES", 0)
    monkeypatch.setattr(store_module, "_SMALL_BYTES", 0)
    assert "; `--full true` checks every byte" in inspection.describe(artifact_path)
    with pytest.raises(ArtifactError, match=rf"{name}: was changed after it was written"):
        inspection.describe(artifact_path, full=True)


@pytest.mark.parametrize("name", [*WEIGHTS, "certificate.json"])
def test_missing_file_is_rejected(artifact_path: Path, name: str) -> None:
    (artifact_path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: is missing"):
        load_artifact(artifact_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.99, 0.9999])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_cut_short_are_rejected_even_without_checksums(artifact_path: Path, name: str, share: float) -> None:
    path = artifact_path / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ArtifactError, match=f"{name}: cannot be read"):
        load_artifact(artifact_path, checksums="never")


def test_changed_manifest_is_rejected(artifact_path: Path) -> None:
    path = artifact_path / "manifest.json"
    path.write_text(path.read_text().replace('"accepted": true', '"accepted": false'))
    with pytest.raises(ArtifactError, match="its checksum does not match"):
        load_artifact(artifact_path)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ('{"format": 7}', "format 7")])
def test_manifest_that_is_none_is_rejected(artifact_path: Path, text: str, message: str) -> None:
    (artifact_path / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(artifact_path)


def test_folder_that_is_no_artifact_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is no artifact, manifest\.json is missing"):
        load_artifact(tmp_path)
    assert recognize_artifact(tmp_path) is None


@pytest.mark.parametrize("name", WEIGHTS)
def test_manifest_without_a_checksum_of_the_weights_is_rejected(artifact_path: Path, name: str) -> None:
    rewrite_manifest(artifact_path, lambda manifest: manifest.files.pop(name))
    with pytest.raises(ArtifactError, match=f"no checksum of {name}"):
        load_artifact(artifact_path)


def reseal(folder: Path, tensors: dict[str, torch.Tensor], name: str = "model.safetensors") -> None:
    save_file(tensors, folder / name)
    rewrite_manifest(folder, lambda m: m.files.update({name: file_sha256(folder / name)}))


def test_missing_tensor_is_named(artifact_path: Path) -> None:
    tensors = load_file(artifact_path / "model.safetensors")
    del tensors["top_mlp.1.bias"]
    reseal(artifact_path, tensors)
    with pytest.raises(ArtifactError, match=r"lacks 'top_mlp\.1\.bias'"):
        load_artifact(artifact_path)


def test_table_of_another_size_is_named(artifact_path: Path) -> None:
    name = "table-01-int8.safetensors"
    reseal(artifact_path, {"table": load_file(artifact_path / name)["table"][:-1].contiguous()}, name)
    with pytest.raises(ArtifactError, match="table 1: the manifest says 7 rows, the file has 6"):
        load_artifact(artifact_path)


def test_table_of_another_layout_is_rejected(artifact_path: Path) -> None:
    name = "table-01-int8.safetensors"
    reseal(artifact_path, {"table": load_file(artifact_path / name)["table"][:, 1:].contiguous()}, name)
    with pytest.raises(ArtifactError, match="do not fit the manifest: table 1: int8 rows of dim 8"):
        load_artifact(artifact_path)
    reseal(artifact_path, {"rows": torch.zeros(7, 12, dtype=torch.uint8)}, name)
    with pytest.raises(ArtifactError, match=f"{name}: its header: table is missing"):
        load_artifact(artifact_path)


def test_tables_that_the_manifest_cannot_mean_are_rejected(artifact_path: Path) -> None:
    manifest = Manifest.read(artifact_path)
    manifest.ops["tables.1"]["dtype"] = "int3"
    manifest.write(artifact_path)
    with pytest.raises(ArtifactError, match=r"ops\.tables\.1: dtype: 'int3' must be one of 'int8'"):
        load_artifact(artifact_path)
    del manifest.ops["tables.1"]
    manifest.write(artifact_path)
    with pytest.raises(ArtifactError, match=r"ops: 'tables\.1' is missing"):
        load_artifact(artifact_path)


@pytest.mark.parametrize(
    "header",
    [
        {"dtype": "U8", "shape": [7, 12], "data_offsets": [0, 85]},
        {"dtype": "U8", "shape": [7, 12], "data_offsets": [4, 88]},
        {"dtype": "U8", "shape": [-7, -12], "data_offsets": [0, 84]},
        {"dtype": "U8", "shape": [84], "data_offsets": [0, 84]},
        {"dtype": "I64", "shape": [7, 12], "data_offsets": [0, 84]},
        {"dtype": "U8", "shape": 7, "data_offsets": [0, 84]},
        [],
    ],
)
def test_hostile_header_of_a_table_is_rejected(artifact_path: Path, header: object) -> None:
    text = json.dumps({"table": header}).encode()
    path = artifact_path / "table-01-int8.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(84))
    with pytest.raises(ArtifactError, match=r"table-01-int8\.safetensors: (cannot be read|its header: )"):
        load_artifact(artifact_path, checksums="never")


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


def test_layer_of_another_shape_is_named(artifact_path: Path) -> None:
    tensors = load_file(artifact_path / "model.safetensors")
    tensors["bottom_mlp.0.weight"] = tensors["bottom_mlp.0.weight"][:, 1:].contiguous()
    reseal(artifact_path, tensors)
    with pytest.raises(ArtifactError, match=r"bottom_mlp\.0: the manifest says \[16, 13\], the weights are \[16, 12\]"):
        load_artifact(artifact_path)


def test_layer_of_another_dtype_is_rejected(artifact_path: Path) -> None:
    tensors = load_file(artifact_path / "model.safetensors")
    tensors["bottom_mlp.0.weight"] = tensors["bottom_mlp.0.weight"].float()
    reseal(artifact_path, tensors)
    with pytest.raises(ArtifactError, match="do not fit the manifest"):
        load_artifact(artifact_path)
    rewrite_manifest(artifact_path, lambda m: m.ops.update({"bottom_mlp.0": {"dtype": "bf16", "relu": True}}))
    with pytest.raises(ArtifactError, match=r"bottom_mlp\.0: the manifest says bf16, the weights are torch\.float32"):
        load_artifact(artifact_path)


def test_certificate_of_another_format_is_rejected(artifact_path: Path) -> None:
    path = artifact_path / "certificate.json"
    path.write_text(json.dumps({"format": 99}))
    rewrite_manifest(artifact_path, lambda m: m.files.update({"certificate.json": file_sha256(path)}))
    with pytest.raises(ArtifactError, match="format 99; this version reads formats 2 to 4"):
        load_artifact(artifact_path)


def test_rows_that_serve_twice_are_rejected() -> None:
    ranges = RANGES | {"tuning": RowRange("val", 100, 2000)}
    with pytest.raises(
        CalibrationError, match=r"calibration \(val\[0:128\]\) and for tuning \(val\[100:2000\]\) overlap"
    ):
        data(row_ranges=ranges)


def test_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="will not be replaced"):
        build(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_failure_in_certification_leaves_the_earlier_artifact(artifact_path: Path) -> None:
    before = file_sha256(artifact_path / "certificate.json")

    def damaged() -> Iterator[ClickBatch]:
        yield tiny.batches(1, 100)[0]
        raise DatasetError("rows that are not those that were written")

    with pytest.raises(DatasetError, match="rows that are not those"):
        build_artifact(tiny.model(), data(certification=damaged()), TuningSettings(), artifact_path, overwrite=True)
    assert file_sha256(artifact_path / "certificate.json") == before
    assert {path.name for path in artifact_path.parent.iterdir()} == {"artifact", ".artifact.trials.jsonl"}


def test_eval_func_of_the_user_decides(tmp_path: Path) -> None:
    calls: list[str] = []

    def eval_func(model: torch.nn.Module) -> float:
        calls.append(type(model).__name__)
        return 0.75

    outcome = build_artifact(tiny.model(), data(), TuningSettings(), tmp_path / "a", eval_func=eval_func)
    assert calls == ["DLRM", "Int8DLRM"]
    assert "without a confidence bound" in outcome.certificate.reason


def test_large_artifact_has_its_small_files_checked_and_the_rest_said(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = artifact_path / "table-00-int8.safetensors"
    size = table.stat().st_size
    monkeypatch.setattr(store_module, "_QUICK_BYTES", 1000)
    monkeypatch.setattr(store_module, "_SMALL_BYTES", size - 1)
    large = [path for path in artifact_path.glob("*") if path.stat().st_size >= size and path.name != "manifest.json"]
    with caplog.at_level(logging.INFO):
        load_artifact(artifact_path)
    assert f"{sum(path.stat().st_size for path in large):,} bytes of tables are not compared" in caplog.text
    rewrite(table)
    load_artifact(artifact_path)
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        load_artifact(artifact_path, checksums="always")
    certificate = artifact_path / "certificate.json"
    monkeypatch.setattr(store_module, "_SMALL_BYTES", certificate.stat().st_size)
    certificate.write_text(certificate.read_text().replace('"seed": 9527', '"seed": 9528'))
    with pytest.raises(ArtifactError, match=r"certificate\.json: was changed after it was written"):
        load_artifact(artifact_path)


# Files that change while they are used.


def rewrite(path: Path) -> None:
    """In place, to the same size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as handle:
        handle.write(content)


@pytest.mark.parametrize("name", ["table-00-int8.safetensors", "model.safetensors", "manifest.json"])
def test_file_that_is_rewritten_under_a_reader_is_refused(artifact_path: Path, name: str) -> None:
    loaded = load_artifact(artifact_path)
    (batch,) = tiny.batches(1, 8)
    stream = Predictor(loaded).stream([batch, batch])
    next(stream)
    rewrite(artifact_path / name)
    with pytest.raises(ArtifactError, match=rf"{name}: was changed in place while it was in use"):
        list(stream)


def test_reader_of_an_artifact_that_is_replaced_goes_on_with_the_old_one(artifact_path: Path) -> None:
    predictor = Predictor(load_artifact(artifact_path))
    (batch,) = tiny.batches(1, 8)
    before = predictor.probabilities(batch)
    other = Path(shutil.copytree(artifact_path, artifact_path.with_name("other")))
    shutil.rmtree(artifact_path)
    other.rename(artifact_path)
    (after,) = predictor.stream([batch])
    assert (after == before).all()


def test_artifact_and_predictor_give_the_probabilities_of_the_model(artifact_path: Path) -> None:
    artifact = load_artifact(artifact_path)
    (batch,) = tiny.batches(1, 8)
    expected = torch.sigmoid(artifact.model(batch)).numpy()
    predictor = Predictor(artifact)
    for predict in (artifact.predict, predictor, predictor.predict):
        np.testing.assert_array_equal(predict([batch, batch]), np.tile(expected, 2))
    wrong = ClickBatch(batch.dense, batch.indices + 40)
    with pytest.raises(LookupIndexError):
        artifact.predict(wrong)
    assert repr(predictor) == f"Predictor('{artifact_path}')"


def test_an_artifact_shows_itself_in_one_line_and_in_one_escaped_table(artifact_path: Path, outcome: Outcome) -> None:
    artifact = load_artifact(artifact_path)
    scores = artifact.certificate.fp32["auroc"], artifact.certificate.int8["auroc"]
    assert repr(artifact).startswith(f"Artifact('{artifact_path}', accepted, AUROC {scores[0]:.6f} -> {scores[1]:.6f}")
    assert len(repr(artifact)) < 200 + len(str(artifact_path))
    html = dataclasses.replace(artifact, path=Path("<b>&"))._repr_html_()
    assert html.startswith("<table><caption>&lt;b&gt;&amp;: accepted</caption>")
    assert "<td>log loss</td>" in html
    assert "relative AUROC drop" in html
    assert len(html) < 2000
    assert repr(outcome).startswith(f"Outcome('{outcome.path}', accepted, AUROC {scores[0]:.6f}")
    assert outcome._repr_html_() == dataclasses.replace(artifact, path=outcome.path)._repr_html_()


def test_artifact_that_is_replaced_while_it_is_loaded_is_refused(
    artifact_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(artifact_path, artifact_path.with_name("other")))
    load_model = store_module.load_model

    def replaced(*arguments: Any) -> Any:
        shutil.rmtree(artifact_path)
        other.rename(artifact_path)
        return load_model(*arguments)

    monkeypatch.setattr(store_module, "load_model", replaced)
    with pytest.raises(ArtifactError, match=r"manifest\.json: was replaced or removed while it was being opened"):
        load_artifact(artifact_path)


class Touching(TuningListener):
    """Writes the checkpoint again, in place, after the first trial."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_trial_end(self, trial: Trial, *, resumed: bool) -> None:
        rewrite(self.path)


def test_checkpoint_that_changes_in_a_search_ends_it(tmp_path: Path) -> None:
    path, model = tmp_path / "a.ckpt", tiny.model()
    write_torch_file(path, {name: parameter.detach() for name, parameter in model.named_parameters()})
    model.weights_file = WeightsFile(path, TorchFile.open(path).contents)
    settings = TuningSettings(criterion=Criterion(relative=0.02))
    with pytest.raises(CheckpointError, match=r"a\.ckpt: was changed in place"):
        build_artifact(model, data(), settings, tmp_path / "artifact", listeners=[Touching(path)])
    assert not (tmp_path / "artifact").exists()


def test_same_quantization_again_replaces_and_another_needs_overwrite(artifact_path: Path) -> None:
    build(artifact_path)
    other = TuningSettings(criterion=Criterion(relative=0.02), max_trials=3)
    with pytest.raises(
        OutputError, match=r"made otherwise: max_trials was 5, is now 3\. Choose another folder, or give --overwrite"
    ):
        build_artifact(tiny.model(), data(), other, artifact_path)
    result = json.loads((artifact_path / "result.json").read_text())
    for name in ("max_trials", "timeout_s", "until"):  # As an interrupted search leaves it.
        del result["made_from"][name]
    (artifact_path / "result.json").write_text(json.dumps(result))
    build_artifact(tiny.model(), data(), other, artifact_path)
    assert json.loads((artifact_path / "result.json").read_text())["made_from"]["max_trials"] == 3
