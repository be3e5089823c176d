"""Artifacts that were changed with matching checksums: their contents are checked as well."""

from __future__ import annotations

import contextlib
import copy
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dlrm_pl.artifact.store import load_artifact
from dlrm_pl.artifact.summary import drop_line, guards_line, slice_line
from dlrm_pl.errors import ArtifactError, DLRMError
from dlrm_pl.inspection import describe
from tests.support import tiny
from tests.support.artifacts import change, sign
from tests.support.documents import MISSING

TABLE = "table-01-int8.safetensors"


def use(folder: Path) -> None:
    """Run everything that reads an artifact, except what needs a dataset."""
    describe(folder)
    artifact = load_artifact(folder, checksums="always")
    with torch.no_grad():
        artifact.model(tiny.batches(1, 8)[0])
    for line in (drop_line, guards_line, slice_line):
        line(artifact.certificate)


@pytest.mark.parametrize(
    ("file", "path", "value", "message"),
    [
        ("manifest.json", ("fp32_bytes",), "x", "fp32_bytes: 'x' must be a whole number"),
        ("manifest.json", ("fp32_bytes",), 0, "fp32_bytes: 0 must be a whole number of at least 1"),
        ("manifest.json", ("machine",), MISSING, "machine is missing"),
        ("manifest.json", ("machine", "torch"), MISSING, r"machine\.torch is missing"),
        ("manifest.json", ("more",), 1, "more: 1 must be removed: unknown field"),
        ("manifest.json", ("ops", "tables.1", "dtype"), "int3", r"ops\.tables\.1: dtype: 'int3' must be one of 'int8'"),
        ("manifest.json", ("ops", "tables.1"), MISSING, "ops: 'tables.1' is missing"),
        ("manifest.json", ("ops", "bottom_mlp.0", "input_scale"), 0, "input_scale: 0 must be a number between 1e-45"),
        ("manifest.json", ("ops", "bottom_mlp.0", "input_zero_point"), 256, "a whole number between 0 and 255"),
        ("manifest.json", ("ops", "bottom_mlp.0", "relu"), None, "relu: None must be true or false"),
        ("manifest.json", ("architecture", "embedding_dim"), 2**40, r"embedding_dim=\d+ is too large: at most"),
        ("manifest.json", ("architecture", "table_sizes", 1), 2**62, r"table_sizes\[1\]=\d+ is too large: at most"),
        ("manifest.json", ("files", "../x"), "", r"files: '\.\./x' is not a file name in the artifact"),
        ("certificate.json", ("fp32", "auroc"), 1.5, r"fp32\.auroc: 1\.5 must be a number between 0 and 1"),
        ("certificate.json", ("fp32", "samples_per_s"), 0,
         r"fp32\.samples_per_s: 0 must be a number of at least 1e-12"),
        ("certificate.json", ("fp32", "log_loss"), MISSING, r"fp32\.log_loss is missing"),
        ("certificate.json", ("int8", "auroc"), "0.9", r"int8\.auroc: '0\.9' must be a number"),
        ("certificate.json", ("guards",), {}, r"guards: \{\} must be a list"),
        ("certificate.json", ("guards", 0, "name"), None, r"guards\.0\.name: None must be one of"),
        ("certificate.json", ("guards", 0, "tolerance"), "x", r"guards\.0\.tolerance: 'x' must be a number or null"),
        ("certificate.json", ("worst_slice",), {}, r"worst_slice\.column is missing"),
        ("certificate.json", ("rows",), -3, "rows: -3 must be a whole number of at least 0"),
        ("certificate.json", ("row_ranges", "certification"), MISSING, r"row_ranges\.certification is missing"),
    ],
)  # fmt: skip
def test_field_of_another_kind_is_named(
    artifact_path: Path, file: str, path: tuple[Any, ...], value: Any, message: str
) -> None:
    change(artifact_path, file, path, value)
    with pytest.raises(ArtifactError, match=rf"artifact.*{message}"):
        use(artifact_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"table": {"dtype": "I8", "shape": [7, 16], "data_offsets": [0, 112]}}, "dtype: 'I8' must be one of"),
        ({"table": {"dtype": "U8", "shape": [7, -16], "data_offsets": [0, 112]}}, r"shape\.1: -16 must be a whole"),
        ({"table": {"dtype": "U8", "shape": ["7", 16], "data_offsets": [0, 112]}}, r"shape\.0: '7' must be a whole"),
        ({"table": {"dtype": "U8", "shape": [2**40, 2**20], "data_offsets": [0, 2**60]}}, "the file has"),
        ({"table": {"dtype": "U8", "shape": [7, 16], "data_offsets": [0, 113]}}, "a header that states"),
        ({"table": {"dtype": "U8", "shape": [7, 16], "data_offsets": 5}}, "data_offsets: 5 must be a list"),
        ({"rows": {}}, "its header: table is missing"),
        ([[[]]], "its header: .* must be an object with fields"),
    ],
)
def test_header_of_a_table_is_checked(artifact_path: Path, header: Any, message: str) -> None:
    path = artifact_path / TABLE
    content = path.read_bytes()
    text = json.dumps(header).encode().ljust(4088)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[4096:])
    sign(artifact_path)
    with pytest.raises(ArtifactError, match=rf"{TABLE}: .*{message}"):
        use(artifact_path)


@pytest.mark.parametrize("size", [0, 5, 2**16, 2**63, 2**64 - 1])
def test_header_of_another_size_is_refused(artifact_path: Path, size: int) -> None:
    path = artifact_path / TABLE
    path.write_bytes(struct.pack("<Q", size) + b"[" * 70_000)
    sign(artifact_path)
    with pytest.raises(ArtifactError, match=rf"{TABLE}: "):
        use(artifact_path)


def test_tables_exchanged_are_refused(artifact_path: Path) -> None:
    first, second = artifact_path / "table-00-int8.safetensors", artifact_path / TABLE
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    sign(artifact_path)
    with pytest.raises(ArtifactError, match="table 0: the manifest states 40 rows, but the file has 7"):
        use(artifact_path)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "bottom_mlp.0.bias",
            torch.full((16,), float("nan")),
            r"\[16\], but must be 16 finite numbers",
        ),
        ("bottom_mlp.0.weight_scale", torch.ones(1, 16), r"is torch.float32 \[1, 16\], but must be 16 finite numbers"),
        ("top_mlp.0.bias", torch.zeros(11), r"is torch.float32 \[11\], but must be 12 finite numbers"),
        ("top_mlp.0.bias", torch.zeros(12, dtype=torch.int32), "is torch.int32"),
        ("top_mlp.0.weight", torch.zeros(12, 14), "needs int8 weights"),
    ],
)
def test_tensor_of_another_kind_is_named(artifact_path: Path, name: str, tensor: torch.Tensor, message: str) -> None:
    path = artifact_path / "model.safetensors"
    tensors = load_file(path) | {name: tensor}
    save_file(tensors, path)
    sign(artifact_path)
    with pytest.raises(ArtifactError, match=message):
        use(artifact_path)


def paths(contents: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return all paths in a document; of lists, only the first element's."""
    if path:
        yield path
    if isinstance(contents, dict | list):
        for key, child in contents.items() if isinstance(contents, dict) else enumerate(contents[:1]):
            yield from paths(child, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["manifest.json", "certificate.json"])
@pytest.mark.parametrize("value", [None, [[]], "x", -1, MISSING], ids=["null", "list", "text", "-1", "missing"])
def test_any_field_may_be_changed(artifact_path: Path, file: str, value: Any) -> None:
    original = json.loads((artifact_path / file).read_text())
    places = [path for path in paths(original) if path[0] not in ("files", "checksum", "recipe")]
    assert len(places) > 30
    for path in places:
        (artifact_path / file).write_text(json.dumps(copy.deepcopy(original)))
        change(artifact_path, file, path, value)
        with contextlib.suppress(DLRMError):  # Some values are valid where they were put.
            use(artifact_path)
