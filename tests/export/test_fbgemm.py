"""Tables in PyTorch's and FBGEMM's layout, compared with a NumPy reader of the bytes and with torch's own ops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import dlrm_pl.export.fbgemm_layouts as layouts
from dlrm_pl.columns.column import DenseColumn, SparseColumn
from dlrm_pl.columns.columns import Columns
from dlrm_pl.errors import ConfigurationError, NonFiniteError, OutputError
from dlrm_pl.export.fbgemm_layouts import Bits, RowFormat, fused_row_bytes, pack_fused, write_fbgemm_tables
from tests.support import tiny
from tests.support.examples import examples


def unpacked(packed: np.ndarray, bits: Bits, dim: int) -> np.ndarray:
    """Return the values that the layout defines, computed without torch."""
    if bits == 8:
        codes = packed[:, :dim].astype(np.float64)
        scale, bias = packed[:, dim:].copy().view("<f4").T
    else:
        low, high = packed[:, : dim // 2] & 15, packed[:, : dim // 2] >> 4
        codes = np.stack([low, high], axis=2).reshape(len(packed), dim).astype(np.float64)
        scale, bias = packed[:, dim // 2 :].copy().view("<f2").T.astype(np.float64)
    return codes * scale[:, None] + bias[:, None]


@settings(deadline=None, max_examples=examples(30))
@given(bits=st.sampled_from([8, 4]), rows=st.integers(1, 30), half=st.integers(1, 12), seed=st.integers(0, 99))
def test_rows_are_within_a_step(bits: Bits, rows: int, half: int, seed: int) -> None:
    values = torch.randn(rows, 2 * half, generator=torch.Generator().manual_seed(seed)) + 0.5
    packed = pack_fused(values, bits)
    assert packed.shape == (rows, fused_row_bytes(bits, 2 * half))
    span = (values.max(dim=1).values - values.min(dim=1).values).numpy()[:, None]
    step = span / (255 if bits == 8 else 15)
    # Half a step; for 4 bits also what float16 loses of scale and bias.
    bound = 0.51 * step if bits == 8 else 0.51 * step + 2**-10 * np.abs(values.numpy()).max() * 2
    assert (np.abs(unpacked(packed.numpy(), bits, 2 * half) - values.numpy()) <= bound + 1e-6).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_torch_looks_up_what_was_written(bits: Bits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_BLOCK_BYTES", 4 * 8 * 10)  # Blocks of ten rows.
    table = torch.randn(35, 8)
    (name,) = write_fbgemm_tables([table], tmp_path, RowFormat(bits))
    rows = load_file(tmp_path / name)["table"]
    assert torch.equal(rows, pack_fused(table, bits))
    ops = torch.ops.quantized
    lookup = ops.embedding_bag_byte_rowwise_offsets if bits == 8 else ops.embedding_bag_4bit_rowwise_offsets
    indices, offsets = torch.tensor([3, 34, 0]), torch.tensor([0, 2, 3])
    found = lookup(rows, indices, offsets, include_last_offset=True)
    expected = unpacked(rows.numpy(), bits, 8)
    np.testing.assert_allclose(found.numpy(), [expected[3] + expected[34], expected[0]], rtol=1e-5, atol=1e-5)


def tbe_rows(values: np.ndarray, bits: Bits, alignment: int) -> np.ndarray:
    """Return the rows of FBGEMM 1.8's inference TBE after ``quantize_embs``, computed without torch or FBGEMM."""
    levels = 255 if bits == 8 else 15
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    if bits == 8:
        scale, bias = (high - low) / np.float32(levels), low
        codes = np.rint((values - low) * (np.float32(levels) / (high - low + np.float32(1e-8)))).astype(np.uint8)
    else:
        bias = low.astype(np.float16).astype(np.float32)
        scale = ((high - bias) / np.float32(levels)).astype(np.float16).astype(np.float32)
        nibbles = np.clip(np.rint((values - bias) * (np.float32(1) / scale)), 0, levels).astype(np.uint8)
        codes = nibbles[:, ::2] | nibbles[:, 1::2] << 4
    head = np.concatenate([scale, bias], axis=1).astype("<f2").view(np.uint8)
    rows = np.concatenate([head, codes], axis=1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % alignment)))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("alignment", [1, 16])
def test_tbe_rows_are_those_of_the_reference_byte_for_byte(tmp_path: Path, bits: Bits, alignment: int) -> None:
    table = torch.randn(300, 12, generator=torch.Generator().manual_seed(3))
    (name,) = write_fbgemm_tables([table], tmp_path, RowFormat(bits, "tbe", alignment))
    assert name == f"table-00-tbe{bits}.safetensors"
    written = load_file(tmp_path / name)["table"].numpy()
    np.testing.assert_array_equal(written, tbe_rows(table.numpy(), bits, alignment))


def test_tbe_rows_of_fbgemm_itself() -> None:
    """The rows that FBGEMM 1.8.0 with torch 2.13 gave for ``torch.manual_seed(0); torch.randn(10, 12)``."""
    values = torch.randn(10, 12, generator=torch.Generator().manual_seed(0))
    int8 = [243, 33, 59, 192, 85, 83, 160, 145, 255, 242, 155, 0, 210, 73, 212, 208]
    int4 = [83, 50, 59, 192, 85, 153, 239, 9, 76, 204, 0, 0, 0, 0, 0, 0]
    assert RowFormat(8, "tbe", 16).pack(values)[0].tolist() == int8
    assert RowFormat(4, "tbe", 16).pack(values)[0].tolist() == int4
    assert RowFormat(4, "tbe").pack(values)[0].tolist() == int4[:10]


def test_tbe_rows_that_float16_cannot_hold_are_named(tmp_path: Path) -> None:
    table = torch.zeros(5, 4)
    table[3] = torch.tensor([-1e6, 0.0, 0.0, 1e6])
    with pytest.raises(NonFiniteError, match="table 0, rows from 0 on: row 3 needs a scale or a bias that float16"):
        write_fbgemm_tables([table], tmp_path, RowFormat(8, "tbe"))


def test_alignment_belongs_to_tbe() -> None:
    with pytest.raises(ConfigurationError, match="row_alignment=3 must be a power of 2"):
        RowFormat(8, "tbe", 3)
    with pytest.raises(ConfigurationError, match="row_alignment=16: the fused layout has no alignment"):
        RowFormat(8, "fused", 16)


def test_damaged_row_is_named(tmp_path: Path) -> None:
    table = torch.zeros(40, 4)
    table[33, 1] = float("inf")
    with pytest.raises(NonFiniteError, match="table 1: row 33 holds NaN or infinity"):
        write_fbgemm_tables([torch.zeros(2, 4), table], tmp_path, RowFormat(8))


def test_odd_rows_do_not_come_in_4_bits() -> None:
    assert fused_row_bytes(8, 7) == 15
    with pytest.raises(ConfigurationError, match="Rows of 7 values cannot be packed in 4 bits"):
        fused_row_bytes(4, 7)


def test_tables_of_a_model_that_differs_in_one_row_are_kept(tmp_path: Path) -> None:
    from dlrm_pl.export.fbgemm_folder import export_tables
    from dlrm_pl.model.training.lightning_module import DLRMModule

    module = DLRMModule([9000, 7, 25], 8, [13, 16, 8], [12, 6, 1])
    for name in ("one", "other"):
        checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
        module.on_save_checkpoint(checkpoint)
        torch.save(checkpoint, tmp_path / f"{name}.ckpt")
        with torch.no_grad():
            next(module.model.embedding_bags.parameters())[1] += 1  # The fingerprint does not sample this row.
    output = tmp_path / "tables"
    export_tables(tmp_path / "one.ckpt", output, RowFormat(8))
    before = (output / "tables.json").read_bytes()
    with pytest.raises(OutputError, match=r"model_checksum changed from blake3:[0-9a-f.]+ to .*--overwrite"):
        export_tables(tmp_path / "other.ckpt", output, RowFormat(8))
    assert (output / "tables.json").read_bytes() == before
    export_tables(tmp_path / "other.ckpt", output, RowFormat(8), overwrite=True)
    assert (output / "tables.json").read_bytes() != before


@pytest.mark.parametrize(
    ("columns", "sizes", "stated"),
    [
        (
            Columns(
                "click", (DenseColumn(name="age"),), (SparseColumn(name="site"), SparseColumn(name="tags", at_most=3))
            ),
            [5, 7],
            {"table-00-tbe8.safetensors": "site", "table-01-tbe8.safetensors": "tags"},
        ),
        (None, [3] * 26, {f"table-{index:02d}-tbe8.safetensors": f"C{index + 1}" for index in range(26)}),
        (None, [5, 7], None),
    ],
)
def test_tables_name_their_columns_if_they_are_known(
    tmp_path: Path, columns: Columns | None, sizes: list[int], stated: dict[str, str] | None
) -> None:
    from dlrm_pl.export.fbgemm_folder import export_tables, recognize_fbgemm_tables
    from dlrm_pl.model.training.lightning_module import DLRMModule

    module = DLRMModule(sizes, 4, [0 if columns else 13, 4], [1], columns=columns)
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "model.ckpt")
    export_tables(tmp_path / "model.ckpt", tmp_path / "tables", RowFormat(8, "tbe"))
    found = json.loads((tmp_path / "tables" / "tables.json").read_text())
    assert found.get("columns") == stated
    assert list(found["files"]) == [f"table-{index:02d}-tbe8.safetensors" for index in range(len(sizes))]
    # Tables written by an earlier version name no columns, and are replaced all the same.
    found.pop("columns", None)
    (tmp_path / "tables" / "tables.json").write_text(json.dumps(found))
    assert recognize_fbgemm_tables(tmp_path / "tables") is not None
    export_tables(tmp_path / "model.ckpt", tmp_path / "tables", RowFormat(8, "tbe"))
    assert json.loads((tmp_path / "tables" / "tables.json").read_text()).get("columns") == stated


def test_command_writes_all_tables_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dlrm_pl.cli import main as cli
    from dlrm_pl.model.training.lightning_module import DLRMModule

    module = DLRMModule([40, 7, 25], 8, [13, 16, 8], [12, 6, 1])
    module.model.load_state_dict(tiny.model().state_dict())
    checkpoint = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "model.ckpt")
    arguments = ["export-tables", "--ckpt_path", str(tmp_path / "model.ckpt"), "--output", str(tmp_path / "tables")]
    for _ in range(2):  # The second run replaces what the first one wrote.
        assert cli.main([*arguments, "--bits", "4"]) == 0
    assert "576 bytes of rows in the layout of FBGEMM, 4 bit" in capsys.readouterr().out
    stated = json.loads((tmp_path / "tables" / "tables.json").read_text())
    assert sorted(stated["files"]) == [f"table-0{index}-fbgemm4.safetensors" for index in range(3)]
    for index, table in enumerate(tiny.model().embedding_bags.weights()):
        found = load_file(tmp_path / "tables" / f"table-0{index}-fbgemm4.safetensors")["table"]
        assert torch.equal(found, pack_fused(table, 4))
