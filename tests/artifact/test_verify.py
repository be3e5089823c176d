"""verify on another machine and with the float model reports what changed and whether the verdict holds."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dlrm_pl.artifact.verification.verify as verification_module
from dlrm_pl.artifact.certificate.drift import METRICS
from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.artifact.store import Artifact, load_artifact
from dlrm_pl.artifact.verification.verify import verify_artifact
from dlrm_pl.callbacks.quantization import QuantizationCallback
from dlrm_pl.data.formats.binary_format import split_file_name
from dlrm_pl.data.formats.finished_dataset import describe
from dlrm_pl.data.loading.datamodule import DLRMDataModule
from dlrm_pl.errors import ArtifactError, CheckpointError, DataFormatError, DatasetError, VerificationError
from dlrm_pl.kernels.int8.selection import isa
from dlrm_pl.model.checkpoints.earlier_checksum import earlier_checksum
from dlrm_pl.model.checkpoints.file import open_checkpoint
from dlrm_pl.model.load import load_dlrm
from dlrm_pl.model.training.lightning_module import DLRMModule
from dlrm_pl.quantization.judging.criterion import Criterion
from dlrm_pl.quantization.judging.slices.certified_slice import CertifiedSlice, SliceDrop
from dlrm_pl.quantization.judging.slices.cuts import WorstSlice
from dlrm_pl.quantization.judging.slices.slice_rule import SliceRule
from dlrm_pl.runtime.cpu import describe_machine
from dlrm_pl.trainer import DLRMTrainer

CRITERION = Criterion(relative=0.5, worst_slice=WorstSlice(by="I4", tolerance=0.5, slices=3))


@pytest.fixture(scope="module")
def certified(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Path]:
    folder = tmp_path_factory.mktemp("certified")
    data = DLRMDataModule(str(synthetic_folder), batch_size=500)
    torch.manual_seed(0)
    module = DLRMModule(
        *(data.table_sizes,),
        embedding_dim=4,
        bottom_mlp=(13, 4),
        top_mlp=(6, 1),
        dataset_fingerprint=data.dataset_fingerprint,
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = DLRMTrainer(
        *(), accelerator="cpu", max_steps=5, limit_val_batches=0, enable_checkpointing=False,
        callbacks=[QuantizationCallback(str(folder / "artifact"), criterion=CRITERION)], **quiet,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "model.ckpt")
    return load_artifact(folder / "artifact", checksums="always"), folder / "model.ckpt"


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def worst_of(artifact: Artifact) -> SliceDrop:
    assert artifact.certificate.worst_slice is not None
    assert artifact.certificate.worst_slice.worst is not None
    return artifact.certificate.worst_slice.worst


def test_same_machine_finds_the_same_bits(certified: tuple[Artifact, Path], synthetic_folder: Path) -> None:
    artifact, ckpt_path = certified
    found = verify_artifact(artifact, synthetic_folder, ckpt_path=ckpt_path)
    assert found.drift.environment == {}
    of_slice = [f"{model} auroc of {worst_of(artifact).value}" for model in ("fp32", "int8")]
    wanted = [f"{model} {name}" for model in ("fp32", "int8") for name in METRICS]
    assert list(found.drift.metrics) == wanted + of_slice
    assert found.drift.largest == 0.0
    stated = dataclasses.asdict(artifact.certificate)
    again = dataclasses.asdict(found.certificate)
    for model in ("fp32", "int8"):
        stated[model].pop("samples_per_s")
        again[model].pop("samples_per_s")
    assert again == stated


def test_without_the_float_model_int8_alone_is_measured(
    certified: tuple[Artifact, Path], synthetic_folder: Path
) -> None:
    found = verify_artifact(certified[0].path, synthetic_folder)
    assert repr(found) == f"Verification(rows={found.rows}, drift=0, measured_drop=False)"
    assert [name.split()[0] for name in found.drift.metrics] == ["int8"] * 5
    assert not found.measured_drop
    assert found.certificate == certified[0].certificate


def test_other_kernels_are_named_and_give_the_same_bits(
    certified: tuple[Artifact, Path], synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certified_isa = isa()
    monkeypatch.setenv("DLRM_PL_ISA", "fallback")
    found = verify_artifact(certified[0], synthetic_folder)
    assert found.drift.environment == {"isa": (certified_isa, "fallback")}
    assert (
        found.drift.describe()
        == f"The environment differs: isa: {certified_isa} -> fallback. All metrics are bit-identical"
    )


@pytest.mark.parametrize(("earlier", "name"), [("twin", "fallback"), ("portable", "generic")])
def test_an_earlier_name_of_the_same_kernels_is_no_difference(
    certified: tuple[Artifact, Path], synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch, earlier: str, name: str
) -> None:
    artifact, _ = certified
    machine = artifact.certificate.machine | {"isa": earlier}
    artifact = dataclasses.replace(artifact, certificate=dataclasses.replace(artifact.certificate, machine=machine))
    monkeypatch.setenv("DLRM_PL_ISA", name)
    assert verify_artifact(artifact, synthetic_folder).drift.environment == {}


def test_metric_that_moved_on_another_machine_is_an_error_that_names_it(
    certified: tuple[Artifact, Path], synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, _ = certified
    certificate = artifact.certificate
    moved = dataclasses.replace(
        artifact, certificate=dataclasses.replace(certificate, int8=certificate.int8 | {"auroc": 0.123})
    )
    elsewhere = describe_machine() | {"processor": "Another", "torch": "9.9"}
    monkeypatch.setattr(verification_module, "describe_machine", lambda: elsewhere)
    message = (
        r"auroc of the int8 model: certified 0\.12300000, recomputed .*processor: .* -> Another; torch: .* -> 9\.9"
    )
    with pytest.raises(VerificationError, match=message):
        verify_artifact(moved, synthetic_folder)
    verify_artifact(moved, synthetic_folder, tolerance=1.0)


@pytest.mark.parametrize("what", ["drop", "guard"])
def test_verdict_that_does_not_hold_any_more_is_an_error(
    certified: tuple[Artifact, Path], synthetic_folder: Path, what: str
) -> None:
    artifact, ckpt_path = certified
    certificate = artifact.certificate
    if what == "drop":
        stricter = dataclasses.replace(certificate, tolerance=(certificate.auroc_drop_at_least or 0.0) - 1e-9)
        message = "Certified as accepted, but measured again: AUROC drop .*, at least"
    else:
        first, *others = certificate.guards
        assert first.name == "log_loss"
        stricter = dataclasses.replace(certificate, guards=(dataclasses.replace(first, tolerance=-1.0), *others))
        message = r"but measured again: log loss .*; tolerance -100\.00%: failed"
    with pytest.raises(VerificationError, match=message):
        verify_artifact(dataclasses.replace(artifact, certificate=stricter), synthetic_folder, ckpt_path=ckpt_path)


@pytest.mark.parametrize("with_model", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 1}, "certified with 1 rows, but"),
        ({"clicks": 2}, "certified with 2 clicks"),
        ({"int8": 0.1}, "auroc of"),
    ],
)
def test_worst_slice_that_differs_from_the_certificate_is_an_error(
    certified: tuple[Artifact, Path], synthetic_folder: Path, change: dict[str, Any], message: str, with_model: bool
) -> None:
    artifact, ckpt_path = certified
    assert artifact.certificate.worst_slice is not None
    worst = dataclasses.replace(worst_of(artifact), **change)
    stated = dataclasses.replace(artifact.certificate.worst_slice, worst=worst)
    moved = dataclasses.replace(artifact, certificate=dataclasses.replace(artifact.certificate, worst_slice=stated))
    with pytest.raises(VerificationError, match=message):
        verify_artifact(moved, synthetic_folder, ckpt_path=ckpt_path if with_model else None)


def test_remeasured_worst_slice_beyond_its_tolerance_is_an_error(
    certified: tuple[Artifact, Path], synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, ckpt_path = certified
    monkeypatch.setattr("dlrm_pl.quantization.judging.slices.slice_rule.SliceRule.judge", lost())
    with pytest.raises(VerificationError, match=r"measured again: worst slice .*; tolerance 50.00%: failed"):
        verify_artifact(artifact, synthetic_folder, ckpt_path=ckpt_path)


def change_rows(folder: Path, rows: int = 60) -> None:
    """Change dense values in the last rows of test, which may not even affect AUROC."""
    path = folder / split_file_name("test")
    records = np.memmap(path, dtype="<i4", mode="r+").reshape(-1, 40)
    records[-rows:, 1:14] += 1
    records.flush()


@pytest.mark.parametrize("what", ["rows", "rows of an earlier version", "dictionary"])
def test_changed_file_of_the_dataset_is_named_and_not_the_machine(
    certified: tuple[Artifact, Path], dataset_copy: Path, what: str
) -> None:
    match = r"test\.bin: rows 0 to 1,999 do not match their checksum"
    if what == "dictionary":
        values = np.load(dataset_copy / "day_fea_dict_1.npz")["unique"]
        np.savez(dataset_copy / "day_fea_dict_1.npz", unique=values[::-1])
        match = r"day_fea_dict_1\.npz changed after the dataset was written"
    else:
        change_rows(dataset_copy)
        if what == "rows of an earlier version":
            (dataset_copy / "terabyte_processed_test.blocks").unlink()
            match = r"test\.bin: was changed after it was written"
    with pytest.raises(DataFormatError, match=match):
        verify_artifact(certified[0], dataset_copy)


@pytest.mark.parametrize("described", [True, False])
def test_other_rows_of_the_same_vocabulary_are_not_those_that_were_certified(
    certified: tuple[Artifact, Path], dataset_copy: Path, described: bool
) -> None:
    change_rows(dataset_copy, 1)
    (dataset_copy / "dataset.json").unlink()
    if described:
        describe(dataset_copy, max_ind_range=40_000_000, created_by="test")
    with pytest.raises(DatasetError, match=r"test\.bin: rows 0 to 1,999 are not the certified ones"):
        verify_artifact(certified[0], dataset_copy)
    assert verify_artifact(certified[0], dataset_copy, force=True, tolerance=1.0).rows == 2000


@pytest.mark.parametrize("stated", ["now", "by earlier versions", "not"])
def test_flipped_bit_of_a_table_is_named_and_not_measured(
    certified: tuple[Artifact, Path],
    synthetic_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stated: str,
) -> None:
    monkeypatch.setattr("dlrm_pl.model.checkpoints.tensors.SMALL_BYTES", 0)  # Treat it as a large table.
    artifact, ckpt_path = certified
    assert len(artifact.certificate.model_checksum) == len("blake3:") + 64
    assert artifact.manifest.model_checksum == artifact.certificate.model_checksum
    if stated != "now":
        checksum = earlier_checksum(load_dlrm(ckpt_path)) if stated == "by earlier versions" else ""
        certificate = dataclasses.replace(artifact.certificate, model_checksum=checksum)
        artifact = dataclasses.replace(artifact, certificate=certificate)
        assert verify_artifact(artifact, synthetic_folder, ckpt_path=ckpt_path).measured_drop
    name = "model.embedding_bags.tables.3.weight"
    content = bytearray(ckpt_path.read_bytes())
    content[open_checkpoint(ckpt_path)["state_dict"][name].offset] ^= 1
    (tmp_path / "flipped.ckpt").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"flipped\.ckpt: corrupt: checksum mismatch .* which hold .*tables\.3\.weight"
    ):
        verify_artifact(artifact, synthetic_folder, ckpt_path=tmp_path / "flipped.ckpt")


@pytest.mark.parametrize("stated", ["now", "by earlier versions"])
def test_checkpoint_of_other_rows_that_the_fingerprint_does_not_see_is_refused(
    certified: tuple[Artifact, Path],
    synthetic_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stated: str,
) -> None:
    monkeypatch.setattr("dlrm_pl.artifact.fingerprint._ROWS", 2)  # The first and the last row.
    artifact, ckpt_path = certified
    checkpoint = torch.load(ckpt_path, weights_only=True)
    checkpoint["state_dict"]["model.embedding_bags.tables.3.weight"][1] += 1
    torch.save(checkpoint, tmp_path / "other.ckpt")
    fingerprints = [model_fingerprint(load_dlrm(path)) for path in (ckpt_path, tmp_path / "other.ckpt")]
    assert fingerprints[0] == fingerprints[1]
    checksum = artifact.certificate.model_checksum if stated == "now" else earlier_checksum(load_dlrm(ckpt_path))
    certificate = dataclasses.replace(artifact.certificate, model_fingerprint=fingerprints[0], model_checksum=checksum)
    artifact = dataclasses.replace(artifact, certificate=certificate)
    with pytest.raises(CheckpointError, match=r"other\.ckpt: its checksum is (blake3:)?\w{64}, but the artifact"):
        verify_artifact(artifact, synthetic_folder, ckpt_path=tmp_path / "other.ckpt")


@pytest.mark.parametrize("what", ["artifact", "checkpoint"])
def test_file_that_is_rewritten_while_it_is_verified_is_named(
    certified: tuple[Artifact, Path], synthetic_folder: Path, tmp_path: Path, what: str
) -> None:
    artifact = load_artifact(shutil.copytree(certified[0].path, tmp_path / "artifact"))
    ckpt_path = Path(shutil.copy(certified[1], tmp_path / "model.ckpt"))
    path = ckpt_path if what == "checkpoint" else tmp_path / "artifact" / "model.safetensors"
    error = CheckpointError if what == "checkpoint" else ArtifactError

    def rewrite(rows: int) -> None:
        os.utime(path, (1, 1))

    with pytest.raises(error, match=rf"{path.name}: was changed in place"):
        verify_artifact(artifact, synthetic_folder, ckpt_path=ckpt_path, progress=rewrite)


def test_what_was_checked_is_said(certified: tuple[Artifact, Path], dataset_copy: Path) -> None:
    assert verify_artifact(certified[0], dataset_copy).checked == (
        "all test rows by their checksum, and the dictionaries against the fingerprint"
    )
    (dataset_copy / "dataset.json").unlink()
    assert verify_artifact(certified[0], dataset_copy).checked == (
        "all test rows against the checksum in the certificate, and the dictionaries against the fingerprint"
    )


def lost() -> Any:
    """Return a judgement as usual, except that its slice lost more than allowed."""
    real = SliceRule.judge

    def judge(*args: Any) -> CertifiedSlice:
        found = real(*args)
        assert found.worst is not None
        return dataclasses.replace(found, worst=dataclasses.replace(found.worst, drop=0.6), passed=False)

    return judge
