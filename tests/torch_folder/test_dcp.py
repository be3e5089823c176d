"""Distributed checkpoints of torch: their directories are checked, and nothing in them is run."""

import contextlib
import pickle
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributed._shard.sharded_tensor.metadata import TensorProperties
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorStorageMetadata

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.pieces import TensorInPieces
from dlrm_pl.torch_folder.dcp import DistributedCheckpoint
from dlrm_pl.torch_folder.dcp_metadata import is_dcp
from tests.support.examples import examples
from tests.support.files.hostile_pickles import HOSTILE

GOLDEN = Path(__file__).parent.parent / "model" / "upstream" / "torchrec" / "golden" / "v2_dcp"
TABLES = "model.model.sparse_arch.embedding_bag_collection.embedding_bags"
ROWS, COLUMNS = f"{TABLES}.t_cat_0.weight", f"{TABLES}.t_cat_2.weight"

ONE_PROCESS = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "dcp"))


def rewrite(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the directory of a checkpoint."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    change(metadata)
    path.write_bytes(pickle.dumps(metadata))


def open_all(folder: Path) -> dict[str, torch.Tensor]:
    opened = DistributedCheckpoint(folder)
    return {name: tensor.read() for name, tensor in opened.open(opened.tensors).items()}


@ONE_PROCESS
def test_tensors_are_those_that_torch_reads(folder: Path) -> None:
    opened = DistributedCheckpoint(folder)
    expected = {name: torch.empty(tensor.shape) for name, tensor in opened.tensors.items()}
    dcp.load(expected, checkpoint_id=str(folder), no_dist=True)
    found = open_all(folder)
    assert {len(tensor.parts) for tensor in opened.tensors.values()} == {1, 2}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert opened.others == ["step"]


@settings(deadline=None, max_examples=examples(10))
@given(
    shape=st.lists(st.integers(0, 5), max_size=4), kind=st.sampled_from([torch.float32, torch.bfloat16, torch.int64])
)
def test_what_one_process_saved_is_read(
    shape: list[int], kind: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("dcp")
    tensor = torch.arange(torch.Size(shape).numel()).reshape(shape).to(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Warnings about a single process and a deprecated storage.
        dcp.save({"x": tensor, "y": {"z": [tensor, 3]}}, checkpoint_id=folder, no_dist=True)
    found = open_all(folder)
    assert set(found) == {"x", "y.z.0"}
    assert torch.equal(found["x"], tensor)
    assert found["x"].dtype == kind


def part(metadata: Any, name: str, number: int = 0) -> Any:
    """Return the key of a part's position."""
    return [index for index in metadata.storage_data if index.fqn == name][number]


def place(name: str, **changes: Any) -> Callable[[Any], None]:
    def change(metadata: Any) -> None:
        index = part(metadata, name)
        metadata.storage_data[index] = replace(metadata.storage_data[index], **changes)

    return change


def drop_place(metadata: Any) -> None:
    del metadata.storage_data[part(metadata, ROWS, 1)]


def drop_part(metadata: Any) -> None:
    del metadata.state_dict_metadata[ROWS].chunks[1]


def share(metadata: Any) -> None:
    metadata.storage_data[part(metadata, ROWS, 0)] = metadata.storage_data[part(metadata, ROWS, 1)]


def other_type(metadata: Any) -> None:
    metadata.state_dict_metadata[ROWS].properties.dtype = torch.float64


def other_size(metadata: Any) -> None:
    metadata.state_dict_metadata[ROWS].chunks[0].sizes = torch.Size([1, 8])


def negative(metadata: Any) -> None:
    metadata.state_dict_metadata[ROWS].chunks[0].offsets = torch.Size([-1, 0])


def other_dimensions(metadata: Any) -> None:
    metadata.state_dict_metadata[ROWS].size = torch.Size([40])


def not_a_size(metadata: Any) -> None:
    metadata.state_dict_metadata[ROWS] = TensorStorageMetadata(
        metadata.state_dict_metadata[ROWS].properties,
        [5, 8],
        [ChunkStorageMetadata([0], [5])],  # type: ignore[arg-type]
    )


CORRUPT: dict[str, tuple[Callable[[Any], None], str]] = {
    "outside": (place(ROWS, relative_path="../../x"), r"it names '\.\./\.\./x', which is not a file in it"),
    "absolute": (place(ROWS, relative_path="/etc/passwd"), "it names '/etc/passwd', which is not a file in it"),
    "missing": (place(ROWS, relative_path="__9_0.distcp"), r"__9_0\.distcp, a file of the checkpoint, is missing"),
    "beyond": (place(ROWS, length=1 << 40), "is truncated: .*t_cat_0.weight ends at byte"),
    "before": (place(ROWS, offset=-1), "is truncated: .*t_cat_0.weight ends at byte"),
    "elsewhere": (place(ROWS, offset=1), "t_cat_0.weight: "),
    "transformed": (
        place(ROWS, transform_descriptors=["zstd"]),
        "is compressed or transformed, which is not supported",
    ),
    "no number": (place(ROWS, offset="1"), "does not state where .*t_cat_0.weight is"),
    "no place": (drop_place, r"does not state where the part \[3, 0\] of .*t_cat_0.weight is"),
    "no part": (drop_part, "t_cat_0.weight: corrupt: row 3 of a tensor"),
    "shared": (share, "two tensors share bytes of "),
    "other type": (other_type, r"has torch.float32 \[3, 8\] at byte .*, but torch.float64 \[3, 8\] of .* is expected"),
    "other size": (other_size, r"has torch.float32 \[3, 8\] at byte .*, but torch.float32 \[1, 8\] of .* is expected"),
    "negative": (negative, r"has \(-1, 0\) where a size or a position is expected"),
    "other dimensions": (other_dimensions, "the number of dimensions of a part of .*t_cat_0.weight differs"),
    "not a size": (not_a_size, "where a size or a position is expected"),
    "no list": (lambda metadata: setattr(metadata, "storage_data", None), "it lists no tensors or no files"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_a_corrupt_directory_is_refused(case: str, folder: Path) -> None:
    change, message = CORRUPT[case]
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=message) as error:
        DistributedCheckpoint(folder).open([ROWS])
    assert str(folder) in str(error.value)


def test_the_classes_of_earlier_versions_of_torch_are_read(folder: Path) -> None:
    expected = open_all(folder)

    def earlier(metadata: Any) -> None:
        for stated in metadata.state_dict_metadata.values():
            if isinstance(stated, TensorStorageMetadata):
                stated.properties = TensorProperties(dtype=stated.properties.dtype)  # type: ignore[assignment]

    rewrite(folder, earlier)
    assert b"_shard.sharded_tensor.metadata" in (folder / ".metadata").read_bytes()
    found = open_all(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 5538), st.integers(1, 255)), min_size=1, max_size=3))
def test_changed_bytes_of_the_directory_cause_no_other_error(places: list[tuple[int, int]], folder: Path) -> None:
    content = bytearray((GOLDEN / ".metadata").read_bytes())
    for place, change in places:
        content[place % len(content)] ^= change
    (folder / ".metadata").write_bytes(content)
    with contextlib.suppress(CheckpointError):
        open_all(folder)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_the_directory_is_run(name: str, folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (folder / ".metadata").write_bytes(HOSTILE[name][0](str(proof)))
    with pytest.raises(CheckpointError, match=r"\.metadata: "):
        DistributedCheckpoint(folder)
    assert not proof.exists()


@pytest.mark.parametrize("length", [0, 1, 50, 2000, 5000])
def test_a_cut_directory_is_refused(length: int, folder: Path) -> None:
    path = folder / ".metadata"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"\.metadata: .*cut short"):
        DistributedCheckpoint(folder)


def test_another_pickle_is_refused(folder: Path) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="is not the directory of a distributed checkpoint"):
        DistributedCheckpoint(folder)


def test_a_folder_without_its_directory_is_not_whole(folder: Path) -> None:
    (folder / ".metadata").unlink()
    assert is_dcp(folder)
    with pytest.raises(CheckpointError, match=r"is not a whole checkpoint: \.metadata, which is written last, is miss"):
        DistributedCheckpoint(folder)
    assert not is_dcp(folder.parent)


def test_changed_bytes_of_a_tensor_are_found(folder: Path) -> None:
    tensor = DistributedCheckpoint(folder).open([COLUMNS])[COLUMNS]
    assert isinstance(tensor, TensorInPieces)
    stored = tensor.pieces[1].stored
    content = bytearray(stored.file.path.read_bytes())
    content[stored.offset] ^= 1
    stored.file.path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"__1_0\.distcp: corrupt: checksum mismatch"):
        open_all(folder)
