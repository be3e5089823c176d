"""One checksum of all weights detects every changed number, however the weights are read."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch

from dlrm_pl.artifact.fingerprint import model_fingerprint
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.model.checkpoints.checksum import model_checksum, parameter_checksums
from dlrm_pl.model.dlrm import DLRM
from dlrm_pl.quantization.ptq.quantize import table_packer
from tests.support.segments import read_in_segments

LARGE = Architecture(table_sizes=(9000, 3), embedding_dim=4, bottom_mlp=(3, 4), top_mlp=(5, 1))


@pytest.fixture
def model() -> DLRM:
    torch.manual_seed(0)
    return DLRM(LARGE)


def checksum(model: DLRM) -> str:
    return model_checksum(model, parameter_checksums(model, {}))


@pytest.mark.parametrize("rows", [100, 9000])
def test_row_that_the_fingerprint_does_not_see_changes_the_checksum(
    model: DLRM, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    read_in_segments(monkeypatch, rows * 16)
    before = checksum(model), model_fingerprint(model)
    with torch.no_grad():
        next(model.embedding_bags.parameters())[1, 2] += 1  # Every second row is in the sample.
    assert model_fingerprint(model) == before[1]
    assert checksum(model) != before[0]


def test_every_parameter_counts(model: DLRM) -> None:
    before = checksum(model)
    for parameter in model.parameters():
        with torch.no_grad():
            kept = parameter.view(-1)[-1].item()
            parameter.view(-1)[-1] = kept + 1
            assert checksum(model) != before
            parameter.view(-1)[-1] = kept
    assert checksum(model) == before


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("fp32", "int4"), ("fp32", "fp32")])
@pytest.mark.parametrize("in_file", [True, False])
def test_checksum_that_is_made_while_tables_are_packed_is_the_same(
    model: DLRM, tmp_path: Path, dtypes: tuple[str, str], in_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_segments(monkeypatch, 1000 * 16)
    checksums = parameter_checksums(model, {})
    packer = table_packer(model, tmp_path if in_file else None, checksums=checksums)
    packer.packed(dtypes)  # type: ignore[arg-type]
    packed = [checksums[f"embedding_bags.tables.{table}.weight"].digest is not None for table in (0, 1)]
    assert packed == [dtype != "fp32" for dtype in dtypes]
    assert model_checksum(model, checksums) == checksum(model)


def test_model_with_a_file_can_be_copied_and_sent(model: DLRM) -> None:
    from dlrm_pl.model.weights_file import WeightsFile

    model.weights_file = WeightsFile(Path("x"), {})
    assert copy.deepcopy(model).weights_file is model.weights_file
    assert pickle.loads(pickle.dumps(model)).weights_file is None
