from __future__ import annotations

import resource
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from dlrm_pl.files.mapped import map_elements, map_tensor


@pytest.mark.parametrize("offset", [0, 4, 4096, 5000])
def test_mapped_tensor_holds_what_the_file_holds(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "file"
    values = torch.arange(2000.0)
    path.write_bytes(b"x" * offset + values.numpy().tobytes())
    with path.open("rb") as handle:
        mapped = map_elements(handle.fileno(), torch.float32, 2000, offset)
    whole = map_tensor(path, torch.float32, (500, 4), offset)
    path.unlink()
    assert torch.equal(mapped, values)
    assert torch.equal(whole, values.view(500, 4))


def test_writing_to_a_map_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8000))
    with path.open("rb") as handle:
        mapped = map_elements(handle.fileno(), torch.float32, 2000, 0)
    mapped += 1
    assert mapped.sum() == 2000
    assert path.read_bytes() == bytes(8000)


def test_bytes_beyond_the_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="bytes 8 to 104 were requested, but the file has 100"):
        map_tensor(tmp_path / "file", torch.float32, (24,), 8)
    assert map_tensor(tmp_path / "file", torch.float32, (0, 7), 100).shape == (0, 7)


def test_a_file_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    """Writing to it takes memory for the touched pages."""
    with sparse_file(tmp_path) as handle:
        table = map_elements(handle.fileno(), torch.float32, 1 << 38, 0)
    assert not table[:: 1 << 33].any()
    table[:: 1 << 33] = 1
    assert table[:: 1 << 33].all()


def test_a_map_that_the_system_refuses_says_why(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 38, before[1]))
    try:
        with sparse_file(tmp_path) as handle, pytest.raises(OSError, match=r"1,099,511,627,776 bytes .*vm.overcommit"):
            map_elements(handle.fileno(), torch.float32, 1 << 38, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def sparse_file(folder: Path) -> BinaryIO:
    """Make a file of 1 TiB that takes no disk space."""
    with (folder / "sparse").open("wb") as handle:
        handle.truncate(1 << 40)
    return (folder / "sparse").open("rb")
