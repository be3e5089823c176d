"""Artifact files that were changed, truncated or swapped are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dlrm_pl.artifact.files as files_module
from dlrm_pl import inspection
from dlrm_pl.artifact.manifest import Manifest, file_sha256
from dlrm_pl.artifact.store import load_artifact, recognize_artifact
from dlrm_pl.errors import (
    ArtifactError,
)
from tests.support.artifacts import change_manifest

WEIGHTS = ["model.safetensors", "table-01-int8.safetensors"]


@pytest.mark.parametrize("name", [*WEIGHTS, "certificate.json", "trials.jsonl"])
def test_changed_file_is_rejected(artifact_path: Path, name: str) -> None:
    path = artifact_path / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name}: checksum mismatch with manifest"):
        load_artifact(artifact_path)


@pytest.mark.parametrize("name", ["table-00-int8.safetensors", "model.safetensors", "report.html"])
def test_inspect_compares_all_files_when_asked_and_says_so_when_not(
    artifact_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "all files by their checksums, and that the certificate agrees with itself and with them"
    assert f"checked       {whole}" in inspection.describe(artifact_path, full=True).splitlines()
    content = bytearray((artifact_path / name).read_bytes())
    content[-1] ^= 1
    (artifact_path / name).write_bytes(content)
    monkeypatch.setattr(files_module, "_QUICK_BYTES", 0)
    monkeypatch.setattr(files_module, "_SMALL_BYTES", 0)
    assert "; `--full` checks every byte" in inspection.describe(artifact_path)
    with pytest.raises(ArtifactError, match=rf"{name}: checksum mismatch with manifest"):
        inspection.describe(artifact_path, full=True)


@pytest.mark.parametrize("damage", ["changed", "cut short"])
def test_digests_are_compared_with_the_checksum_of_the_float_weights(
    artifact_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    def warned() -> bool:
        found = "digests.safetensors: does not match the checksum" in caplog.text
        caplog.clear()
        return found

    load_artifact(artifact_path, checksums="always")
    inspection.describe(artifact_path, full=True)
    assert not warned()
    path = artifact_path / "digests.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "changed" else content[:-9])
    load_artifact(artifact_path, checksums="always")
    assert warned()
    inspection.describe(artifact_path, full=True)
    assert warned()
    load_artifact(artifact_path)
    assert not warned()
    for checksum in ("", "0" * 64):  # As earlier versions stated it.
        change_manifest(artifact_path, lambda manifest, to=checksum: object.__setattr__(manifest, "model_checksum", to))
        load_artifact(artifact_path, checksums="always")
    path.unlink()
    load_artifact(artifact_path, checksums="always")
    assert not warned()


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
    with pytest.raises(ArtifactError, match=r"not an artifact: manifest\.json is missing"):
        load_artifact(tmp_path)
    assert recognize_artifact(tmp_path) is None


@pytest.mark.parametrize("name", WEIGHTS)
def test_manifest_without_a_checksum_of_the_weights_is_rejected(artifact_path: Path, name: str) -> None:
    change_manifest(artifact_path, lambda manifest: manifest.files.pop(name))
    with pytest.raises(ArtifactError, match=f"no checksum of {name}"):
        load_artifact(artifact_path)


def reseal(folder: Path, tensors: dict[str, torch.Tensor], name: str = "model.safetensors") -> None:
    save_file(tensors, folder / name)
    change_manifest(folder, lambda m: m.files.update({name: file_sha256(folder / name)}))


def test_missing_tensor_is_named(artifact_path: Path) -> None:
    tensors = load_file(artifact_path / "model.safetensors")
    del tensors["top_mlp.1.bias"]
    reseal(artifact_path, tensors)
    with pytest.raises(ArtifactError, match=r"'top_mlp\.1\.bias' is missing from the artifact"):
        load_artifact(artifact_path)


def test_table_of_another_size_is_named(artifact_path: Path) -> None:
    name = "table-01-int8.safetensors"
    reseal(artifact_path, {"table": load_file(artifact_path / name)["table"][:-1].contiguous()}, name)
    with pytest.raises(ArtifactError, match="table 1: the manifest states 7 rows, but the file has 6"):
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


def test_layer_of_another_shape_is_named(artifact_path: Path) -> None:
    tensors = load_file(artifact_path / "model.safetensors")
    tensors["bottom_mlp.0.weight"] = tensors["bottom_mlp.0.weight"][:, 1:].contiguous()
    reseal(artifact_path, tensors)
    with pytest.raises(
        ArtifactError, match=r"bottom_mlp\.0: the manifest states shape \[16, 13\], but the weights have \[16, 12\]"
    ):
        load_artifact(artifact_path)


def test_layer_of_another_dtype_is_rejected(artifact_path: Path) -> None:
    tensors = load_file(artifact_path / "model.safetensors")
    tensors["bottom_mlp.0.weight"] = tensors["bottom_mlp.0.weight"].float()
    reseal(artifact_path, tensors)
    with pytest.raises(ArtifactError, match="do not fit the manifest"):
        load_artifact(artifact_path)
    change_manifest(artifact_path, lambda m: m.ops.update({"bottom_mlp.0": {"dtype": "bf16", "relu": True}}))
    with pytest.raises(
        ArtifactError, match=r"bottom_mlp\.0: the manifest states bf16, but the weights are torch\.float32"
    ):
        load_artifact(artifact_path)


def test_certificate_of_another_format_is_rejected(artifact_path: Path) -> None:
    path = artifact_path / "certificate.json"
    path.write_text(json.dumps({"format": 99}))
    change_manifest(artifact_path, lambda m: m.files.update({"certificate.json": file_sha256(path)}))
    with pytest.raises(ArtifactError, match="format 99; this version reads formats 2 to 4"):
        load_artifact(artifact_path)
