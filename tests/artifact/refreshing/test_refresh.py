"""A refreshed artifact is bit-identical to a full quantization, whatever rows changed, and shares the other files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dlrm_pl.artifact.digests import DIGESTS_NAME
from dlrm_pl.artifact.manifest import Manifest
from dlrm_pl.artifact.refreshing.base import RefreshBase
from dlrm_pl.artifact.refreshing.packer import _others
from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.errors import ConfigurationError, NonFiniteError
from dlrm_pl.files.tensor_file import save_tensors
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.quantization.ptq.quantize import bags_of
from dlrm_pl.quantization.ptq.table_packer import TablePacker
from tests.support import tiny
from tests.support.refreshing import (
    ARCHITECTURE,
    Made,
    assert_same_bits,
    changed,
    full,
    nothing,
    quantized,
    refresh,
    runs,
    scattered,
)
from tests.support.segments import read_in_segments

Change = Callable[[list[torch.Tensor]], object]


def everything(tables: list[torch.Tensor]) -> None:
    for table in tables:
        table += 0.25


def signs_of_zeros(tables: list[torch.Tensor]) -> None:
    tables[0][5] = -0.0


@pytest.mark.parametrize(
    "change", [scattered, runs, pytest.param(everything, marks=pytest.mark.slow), nothing, signs_of_zeros]
)
def test_the_bits_are_those_of_a_whole_quantization(made: Made, change: Change, tmp_path: Path) -> None:
    model = changed(made.model, change)
    outcome = refresh(model, made.path, tmp_path / "second")
    found = load_artifact(tmp_path / "second", checksums="always")
    assert_same_bits(found.model, quantized(model, found))
    assert outcome.manifest.recipe == made.artifact().manifest.recipe
    assert outcome.manifest.model_checksum == model_checksum(model, parameter_checksums(model, {}))
    assert outcome.certificate.rows == 1000
    stated = full(model, tmp_path / "whole").manifest
    for name in ("ops", "int8_bytes", "table_bytes", "model_fingerprint", "model_checksum"):
        assert getattr(outcome.manifest, name) == getattr(stated, name)


@pytest.mark.parametrize("dtype", ["int4", "fp16", "fp32"])
def test_tables_of_every_dtype(dtype: str, tmp_path: Path) -> None:
    model = tiny.model(0, ARCHITECTURE)
    base = full(model, tmp_path / "first", tables=dtype).path
    assert set(load_artifact(base).model.tables.dtypes) == {dtype}
    model = changed(model, lambda tables: (scattered(tables), signs_of_zeros(tables)))
    refresh(model, base, tmp_path / "second")
    found = load_artifact(tmp_path / "second")
    assert_same_bits(found.model, quantized(model, found))


def test_only_blocks_that_changed_are_packed(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dlrm_pl.artifact.refreshing.packer as packer

    packed = []
    pack = packer.pack_into
    monkeypatch.setattr(packer, "pack_into", lambda rows, *others: packed.append(len(rows)) or pack(rows, *others))
    monkeypatch.setattr(TablePacker, "_pack_block", lambda *arguments: pytest.fail("a whole table was packed"))
    refresh(changed(made.model, runs), made.path, tmp_path / "second")
    assert packed == [2 * 256, 1111 - 4 * 256]


@pytest.mark.parametrize("byte", [0, 7, 8, 15])
def test_digests_differ_by_any_of_their_bytes(byte: int) -> None:
    known = np.arange(48, dtype=np.uint8).reshape(3, 16)
    digests = known.copy()
    digests[1, byte] ^= 1
    assert _others(digests, known).tolist() == [1]
    assert _others(digests[2:], known[2:]).tolist() == []


def test_a_patch_is_applied_to_one_map_of_its_table(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each map of a table has its own copy of the pages of its changed rows."""
    import dlrm_pl.artifact.refreshing.packer as packer
    import dlrm_pl.artifact.store as store

    applied = []
    apply_patch = store.apply_patch

    def apply(path: Path, table: torch.Tensor) -> None:
        applied.append(path.name)
        apply_patch(path, table)

    for module in (packer, store):
        monkeypatch.setattr(module, "apply_patch", apply)
    model = changed(made.model, runs)
    outcome = refresh(model, made.path, tmp_path / "second")
    assert sorted(applied) == ["table-00-int8.patch-1.safetensors", "table-02-int8.patch-1.safetensors"]
    assert_same_bits(load_artifact(outcome.path).model, quantized(model, made.artifact()))


def test_the_rest_is_shared(made: Made, tmp_path: Path) -> None:
    outcome = refresh(changed(made.model, runs), made.path, tmp_path / "second")
    second = tmp_path / "second"
    assert outcome.manifest.patches == {
        "tables.0": ["table-00-int8.patch-1.safetensors"],
        "tables.2": ["table-02-int8.patch-1.safetensors"],
    }
    for name in ("table-00-int8.safetensors", "table-01-int8.safetensors", "table-02-int8.safetensors"):
        assert (second / name).samefile(made.path / name)
    # 50 and 3 rows of 12 bytes, their numbers, and two headers.
    assert sum((second / name).stat().st_size for name in outcome.manifest.patch_names) < 53 * 16 + 2 * 400
    assert json.loads((second / "manifest.json").read_text())["format"] == 4
    assert json.loads((made.path / "manifest.json").read_text())["format"] == 3


def test_a_table_of_which_much_changed_is_packed_as_a_whole(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_segments(monkeypatch, 100 * 32)
    base = full(made.model, tmp_path / "first").path  # With digests of blocks of this size.

    def change(tables: list[torch.Tensor]) -> None:
        tables[0][1000 : 1000 + 3000 // 8 + 1] += 1
        tables[2][: 1111 // 8] += 1

    model = changed(made.model, change)
    outcome = refresh(model, base, tmp_path / "second")
    assert set(outcome.manifest.patches) == {"tables.2"}
    assert sorted(path.name for path in (tmp_path / "second.delta").glob("table-*")) == [
        "table-00-int8.safetensors",
        "table-02-int8.patch-1.safetensors",
    ]
    assert_same_bits(load_artifact(tmp_path / "second").model, quantized(model, load_artifact(tmp_path / "second")))
    assert_same_bits(
        load_artifact(tmp_path / "second.delta", bases=[base]).model, load_artifact(tmp_path / "second").model
    )


def test_the_rows_that_changed_are_told(made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dlrm_pl")
    refresh(changed(made.model, runs), made.path, tmp_path / "second")
    assert f"53 of 4,118 rows have changed since {made.path}" in caplog.text


def test_large_patches_are_told(made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refresh(changed(made.model, scattered), made.path, tmp_path / "second")
    assert "patches of this" not in caplog.text
    refresh(changed(made.model, everything), made.path, tmp_path / "third")
    assert "patches of this and earlier refreshes take" in caplog.text


def test_the_first_artifact_can_go(made: Made, tmp_path: Path) -> None:
    base = tmp_path / "first"
    shutil.copytree(made.path, base)
    model = changed(made.model, scattered)
    refresh(model, base, tmp_path / "second")
    shutil.rmtree(base)
    found = load_artifact(tmp_path / "second", checksums="always")
    assert_same_bits(found.model, quantized(model, found))


def test_a_refresh_of_a_refresh(made: Made, tmp_path: Path) -> None:
    second = changed(made.model, scattered)
    refresh(second, made.path, tmp_path / "second")
    # Some rows change once more; others return to their first values.
    third = changed(second, lambda tables: (runs(tables), tables[1].copy_(bags_of(made.model).weights()[1])))
    outcome = refresh(third, tmp_path / "second", tmp_path / "third")
    found = load_artifact(tmp_path / "third", checksums="always")
    assert_same_bits(found.model, quantized(third, found))
    assert outcome.manifest.patches["tables.0"] == [
        "table-00-int8.patch-1.safetensors",
        "table-00-int8.patch-2.safetensors",
    ]


def test_in_place_of_the_first(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "served"
    shutil.copytree(made.path, path)
    model = changed(made.model, scattered)
    refresh(model, path, path, overwrite=True)
    found = load_artifact(path, checksums="always")
    assert_same_bits(found.model, quantized(model, found))
    refresh(changed(model, runs), path, path, overwrite=True)
    assert sorted(found.name for found in tmp_path.iterdir() if not found.name.startswith(".")) == [
        "served",
        "served.delta",
    ]


@pytest.mark.parametrize("damage", ["missing", "cut short", "of another model", "of another shape"])
def test_without_digests_all_rows_are_packed(
    made: Made, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tmp_path / "first"
    shutil.copytree(made.path, base)
    path = base / DIGESTS_NAME
    contents = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut short":
        path.write_bytes(contents[:-5])
    elif damage == "of another shape":
        flat = {name: tensor.view(-1) for name, tensor in load_file(made.path / DIGESTS_NAME).items()}
        save_tensors(flat, path)
    elif damage == "of another model":
        contents[-1] ^= 1
        path.write_bytes(contents)
    model = changed(made.model, scattered)
    refresh(model, base, tmp_path / "second")
    assert "no digests of its float rows" in caplog.text
    found = load_artifact(tmp_path / "second")
    assert_same_bits(found.model, quantized(model, found))


def test_another_architecture_is_refused_by_what_differs(made: Made) -> None:
    architecture = dataclasses.replace(ARCHITECTURE, table_sizes=(3000, 7, 1112))
    with pytest.raises(ConfigurationError, match=r"table_sizes is \[3000, 7, 1111\], but \[3000, 7, 1112\]"):
        RefreshBase.load(made.path, tiny.model(0, architecture))


def test_rows_that_are_not_finite_are_counted(made: Made, tmp_path: Path) -> None:
    def spoil(tables: list[torch.Tensor]) -> None:
        tables[0][1234, 3] = float("nan")
        tables[2][10, 0] = float("inf")

    model = changed(made.model, spoil)
    with pytest.raises(NonFiniteError, match="table 0: 1 of 3,000 rows, the first is row 1234; table 2: 1 of 1,111"):
        refresh(model, made.path, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    bags_of(model).nonfinite_as_zero = True
    outcome = refresh(model, made.path, tmp_path / "second")
    assert outcome.manifest.nonfinite_rows == {"tables.0": 1, "tables.2": 1}
    # Those tables were packed as a whole, and will be again next time.
    assert set(outcome.manifest.patches) == set()
    again = changed(model, scattered)
    bags_of(again).nonfinite_as_zero = True
    outcome = refresh(again, tmp_path / "second", tmp_path / "third")
    assert outcome.manifest.nonfinite_rows == {"tables.0": 1, "tables.2": 1}
    assert set(outcome.manifest.patches) == {"tables.1"}


def test_row_that_fp16_cannot_hold_is_named(tmp_path: Path) -> None:
    model = tiny.model(0, ARCHITECTURE)
    base = full(model, tmp_path / "first", tables="fp16").path

    def grow(tables: list[torch.Tensor]) -> None:
        tables[2][700, 1] = 1e6

    with pytest.raises(NonFiniteError, match=r"table 2: row 700 holds 1000000\.0, which fp16 cannot represent"):
        refresh(changed(model, grow), base, tmp_path / "second")


def test_the_same_refresh_again_replaces_it(made: Made, tmp_path: Path) -> None:
    model = changed(made.model, scattered)
    for _ in range(2):
        refresh(model, made.path, tmp_path / "second")
    assert Manifest.read(tmp_path / "second").patches
