"""Torch files opened without torch.load: what plain torch.save wrote is read, all else is refused by name."""

import collections
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.directory import TorchFile
from tests.support.files.pickles import FORMATS, in_zip, save, state
from tests.support.files.torch_files import save_sparse


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_tensor_is_read(tmp_path: Path, kind: str, protocol: int) -> None:
    file = TorchFile.open(save(state(), tmp_path / "x.pt", kind, protocol))
    assert file.format == kind
    assert list(file.contents) == list(state())
    for name, expected in state().items():
        stored = file.contents[name]
        assert (stored.shape, stored.stride, stored.dtype) == (expected.shape, expected.stride(), expected.dtype)
        assert torch.equal(stored.read(), expected), name
        for block_bytes in (1, 40, 1 << 20):
            blocks = [block.clone() for block in stored.blocks(block_bytes)]
            assert torch.equal(
                torch.cat([*blocks, expected.new_empty(0, *expected.shape[1:])]),
                expected.reshape(-1, *expected.shape[1:]),
            ), name


def test_mapped_tensors_are_those_of_the_file(tmp_path: Path) -> None:
    path = save(state(), tmp_path / "x.pt", "zip")
    before = path.read_bytes()
    stored = TorchFile.open(path).contents
    for name, expected in state().items():
        mapped = stored[name].map()
        assert torch.equal(mapped, expected)
        assert mapped.stride() == expected.stride()
    written = stored["table"].map()
    written.zero_()
    assert torch.equal(stored["table"].map(), state()["table"])
    assert path.read_bytes() == before


def test_a_map_outlives_the_file_and_its_name(tmp_path: Path) -> None:
    path = save(state(), tmp_path / "x.pt", "zip")
    mapped = TorchFile.open(path).contents["table"].map()
    later = TorchFile.open(path).contents["part"]
    path.unlink()
    path.write_bytes(b"another file")
    assert torch.equal(mapped, state()["table"])
    assert torch.equal(later.map(), state()["part"])


def test_data_that_is_not_aligned_is_read_but_not_mapped(tmp_path: Path) -> None:
    aligned = 0
    for length in range(4):  # Of a text before the data; one length aligns the data to 4 bytes.
        save_sparse({"text": "a" * length, "x": torch.ones(2)}, tmp_path / "x.pt", "legacy")
        stored = TorchFile.open(tmp_path / "x.pt").contents["x"]
        assert torch.equal(stored.read(), torch.ones(2))
        aligned += stored.is_aligned
        if not stored.is_aligned:
            with pytest.raises(CheckpointError, match="which is not a multiple of 4"):
                stored.map()
    assert aligned == 1


def test_a_file_that_shrinks_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = save({"x": torch.ones(100_000)}, tmp_path / "x.pt", "zip")
    stored = TorchFile.open(path).contents["x"]
    os.truncate(path, 10_000)
    for use in (stored.map, stored.read, lambda: list(stored.blocks(1000))):
        with pytest.raises(CheckpointError, match=r"x\.pt: cut short since it was opened, from \S+ to 10,000 bytes"):
            use()


@pytest.mark.parametrize("kind", FORMATS)
def test_plain_values_and_numpy_numbers_are_read(tmp_path: Path, kind: str) -> None:
    values = {
        "test_acc": np.float64(0.1),
        "train_acc": np.float32(0.1),
        "iter": np.int64(-3),
        "best": np.bool_(True),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "text": "ä",
        "bytes": b"\0\xff",
        "long": 2**63,
        "mixed": [1, (2.5, None), {"a", "b"}, {1: True}],
        "size": torch.Size([1, 2]),
        "dtype": torch.float16,
        "device": torch.device("cuda:1"),
        "defaults": collections.defaultdict(dict, {"a": {}}),
        "counter": collections.Counter("aab"),
    }
    found = TorchFile.open(save(values, tmp_path / "x.pt", kind)).contents
    for name in ("array", "fortran", "big"):
        assert np.array_equal(found.pop(name), values.pop(name))
    assert found == values | {"size": (1, 2), "device": "cuda:1"}
    assert type(found["train_acc"]) is float
    assert type(found["best"]) is bool


def test_numpy_numbers_of_numpy_1_are_read(tmp_path: Path) -> None:
    path = save({"test_acc": np.float64(0.75)}, tmp_path / "x.pt", "legacy")
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert b"numpy.core" in path.read_bytes()
    assert TorchFile.open(path).contents == {"test_acc": 0.75}


@pytest.mark.parametrize("storage", [b"torch.cuda\nFloatStorage", b"torch\nFloatStorage"])
def test_tensors_saved_from_a_gpu_are_read(tmp_path: Path, storage: bytes) -> None:
    content = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagec" + storage + b"\nU\x01aU\x06cuda:0K\x04tQ"
        b"K\x00K\x02K\x02\x86K\x02K\x01\x86\x89NtR."
    )
    path = in_zip(tmp_path / "x.pt", content, **{"data/a": np.arange(4, dtype=np.float32).tobytes()})
    assert torch.equal(TorchFile.open(path).contents.read(), torch.arange(4.0).view(2, 2))


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    shared = {"a": torch.ones(2)}
    found = TorchFile.open(save([shared, shared], tmp_path / "x.pt", "zip")).contents
    assert found[0] is found[1]


# Hostile pickles. `proof` names a file that they would create.


# Versions, byte orders and other kinds of files.


# Truncation and damage.
