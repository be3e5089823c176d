from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlrm_pl.mapped import map_elements, map_tensor


@pytest.mark.parametrize("offset", [0, 4, 4096, 5000])
@pytest.mark.parametrize("copy_on_write", [False, True])
def test_mapped_tensor_holds_what_the_file_holds(tmp_path: Path, offset: int, copy_on_write: bool) -> None:
    path = tmp_path / "file"
    values = torch.arange(2000.0)
    path.write_bytes(b"x" * offset + values.numpy().tobytes())
    with path.open("rb") as handle:
        mapped = map_elements(handle.fileno(), torch.float32, 2000, offset, copy_on_write=copy_on_write)
    whole = map_tensor(path, torch.float32, (500, 4), offset)
    path.unlink()
    assert torch.equal(mapped, values)
    assert torch.equal(whole, values.view(500, 4))


def test_writing_to_a_copy_on_write_map_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8000))
    with path.open("rb") as handle:
        mapped = map_elements(handle.fileno(), torch.float32, 2000, 0, copy_on_write=True)
    mapped += 1
    assert mapped.sum() == 2000
    assert path.read_bytes() == bytes(8000)


def test_bytes_beyond_the_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="bytes 8 to 104 were asked for, the file has 100"):
        map_tensor(tmp_path / "file", torch.float32, (24,), 8)
    assert map_tensor(tmp_path / "file", torch.float32, (0, 7), 100).shape == (0, 7)


@pytest.mark.parametrize("copy_on_write", [False, True])
def test_a_file_larger_than_memory_is_mapped(tmp_path: Path, copy_on_write: bool) -> None:
    """And counts as memory of the process only once it is written to: RLIMIT_DATA is 1 GiB here."""
    path = tmp_path / "sparse"
    with path.open("wb") as handle:
        handle.truncate(1 << 40)
    limit = "" if copy_on_write else "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30)); "
    program = (
        f"import resource, torch; from dlrm_pl.mapped import map_elements; {limit}"
        f"file = open({str(path)!r}); "
        f"table = map_elements(file.fileno(), torch.float32, 1 << 38, 0, copy_on_write={copy_on_write}); "
        "assert not table[:: 1 << 33].any()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=250)
