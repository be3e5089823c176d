"""Snapshots of torchsnapshot: their directories are checked."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_folder.snapshot import Snapshot
from tests.support.examples import examples

GOLDEN = Path(__file__).parent.parent / "model" / "upstream" / "torchrec" / "golden" / "v2_snapshot"
DENSE = "model.model.dense_arch.model._mlp.0._linear.bias"
ROWS = "model.model.sparse_arch.embedding_bag_collection.embedding_bags.t_cat_0.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "snapshot"))


def stated(folder: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((folder / ".snapshot_metadata").read_text())
    return contents


def entry(contents: dict[str, Any], name: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = contents["manifest"][f"{rank}/model/{name.removeprefix('model.')}"]
    return found


def open_all(folder: Path) -> dict[str, Any]:
    opened = Snapshot(folder)
    return {name: tensor.read().tolist() for name, tensor in opened.open(opened.tensors).items()}


def test_yaml_of_older_versions_is_read(folder: Path) -> None:
    expected = open_all(folder)
    (folder / ".snapshot_metadata").write_text(yaml.safe_dump(stated(folder)))
    assert open_all(folder) == expected


def test_files_of_their_own_and_chunks_are_read(folder: Path) -> None:
    """Written without batching, and for tensors of more than half a gigabyte."""
    expected, contents = open_all(folder), stated(folder)
    tensor = entry(contents, DENSE)
    begin, end = tensor.pop("byte_range")
    (folder / "0").mkdir()
    (folder / "0" / "bias").write_bytes((folder / tensor["location"]).read_bytes()[begin:end])
    parts = [{"offsets": [first], "sizes": [4]} for first in (4, 0)]
    for chunk in parts:
        first = 4 * chunk["offsets"][0]
        chunk["tensor"] = tensor | {"location": "0/bias", "shape": [4], "byte_range": [first, first + 16]}
    for rank in (0, 1):
        contents["manifest"][f"{rank}/model/{DENSE.removeprefix('model.')}"] = {
            **{"type": "ChunkedTensor", "dtype": "torch.float32", "shape": [8], "replicated": True},
            "chunks": parts,
        }
    (folder / ".snapshot_metadata").write_text(json.dumps(contents))
    assert open_all(folder) == expected


def change(name: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: entry(contents, name).update(fields)


def change_shard(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda contents: entry(contents, ROWS)["shards"][0].update(fields)


def drop_rank(contents: dict[str, Any]) -> None:
    """Remove the statements of the first process, whose rows come first."""
    del contents["manifest"][f"0/model/{ROWS.removeprefix('model.')}"]


def share(contents: dict[str, Any]) -> None:
    other = entry(contents, DENSE.replace("bias", "weight"))
    entry(contents, DENSE)["byte_range"] = [other["byte_range"][0], other["byte_range"][0] + 32]


CORRUPT: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no manifest": (lambda contents: contents.pop("manifest"), "does not list any tensors"),
    "no type": (change(DENSE, type=None), "has no type"),
    "no location": (change(DENSE, location=3), "location"),
    "outside": (change(DENSE, location="../x"), r"it names '\.\./x', which is not a file in it"),
    "missing": (change(DENSE, location="batched/x"), "batched/x, a file of the checkpoint, is missing"),
    "range": (change(DENSE, byte_range=[0]), "has no valid range of bytes"),
    "short": (change(DENSE, byte_range=[0, 4]), "has 4 bytes, but 8 elements of 4 bytes are expected"),
    "beyond": (change(DENSE, byte_range=[1 << 40, (1 << 40) + 32]), "truncated"),
    "type": (change(DENSE, dtype="torch.float33"), "has the unknown type 'torch.float33'"),
    "quantized": (change(DENSE, serializer="per_tensor_qtensor"), "like quantized tensors. Give a float"),
    "pickled": (change(DENSE, serializer="torch_save"), "bias: .*zip"),
    "no shards": (change(ROWS, shards=[]), "row 0 of a tensor"),
    "dimensions": (change_shard(sizes=[3]), "parts of different dimensions"),
    "overlap": (change_shard(offsets=[1, 0]), "t_cat_0.weight: corrupt: row 0"),
    "rank": (drop_rank, "t_cat_0.weight: corrupt: row 0"),
    "shared": (share, "two tensors share bytes of "),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_a_corrupt_directory_is_refused(case: str, folder: Path) -> None:
    alter, message = CORRUPT[case]
    contents = stated(folder)
    alter(contents)
    (folder / ".snapshot_metadata").write_text(json.dumps(contents))
    with pytest.raises(CheckpointError, match=message) as error:
        open_all(folder)
    assert str(folder) in str(error.value)


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 11_555), text=st.sampled_from(["", "0", "-", '"', "}", "9", "null", "[]", "{}", "a", "e9"]))
def test_changed_text_of_the_directory_causes_no_other_error(place: int, text: str, folder: Path) -> None:
    content = (GOLDEN / ".snapshot_metadata").read_text()
    (folder / ".snapshot_metadata").write_text(content[:place] + text + content[place + 1 :])
    with contextlib.suppress(CheckpointError):
        open_all(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "a: &x [*x, *x]", "{}"])
def test_what_is_no_directory_is_refused(text: str, folder: Path) -> None:
    (folder / ".snapshot_metadata").write_text(text)
    with pytest.raises(CheckpointError, match=r"\.snapshot_metadata"):
        open_all(folder)
