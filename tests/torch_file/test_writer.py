"""Torch reads the written files, which appear whole or not at all, using bounded memory."""

import collections
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError, OutputError
from dlrm_pl.torch_file import stored, writer
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.writer import write_torch_file
from tests.support.examples import examples
from tests.support.files.torch_files import Sparse, save_sparse

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16),
    *(torch.int8, torch.uint8, torch.bool),
)


def contents() -> dict[str, Any]:
    rng = torch.Generator().manual_seed(1)
    tensors = {str(dtype): torch.randint(0, 2, (3, 5), generator=rng).to(dtype) for dtype in DTYPES}
    return {
        "state_dict": collections.OrderedDict(
            **tensors,
            table=torch.randn(1000, 7, generator=rng),
            transposed=torch.randn(4, 3, generator=rng).t(),
            scalar=torch.tensor(2.5),
            empty=torch.empty(0, 3),
            parameter=torch.nn.Parameter(torch.randn(3, generator=rng)),
        ),
        "epoch": 3,
        "loss": 0.1,
        "text": "ä",
        "nested": [1, (None, True), {2: b"\0"}],
        "dtype": torch.float16,
    }


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("mmap", [True, False])
def test_torch_reads_what_was_written(tmp_path: Path, mmap: bool) -> None:
    write_torch_file(tmp_path / "x.pt", contents())
    assert_same(torch.load(tmp_path / "x.pt", weights_only=True, mmap=mmap), contents())


def test_the_archive_is_valid_and_its_data_aligned(tmp_path: Path) -> None:
    write_torch_file(tmp_path / "x.pt", contents())
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is None
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    tensors = TorchFile.open(tmp_path / "x.pt").contents["state_dict"].values()
    assert all(tensor.offset % 64 == 0 for tensor in tensors)


def test_what_was_read_is_written_the_same(tmp_path: Path) -> None:
    for kind in (True, False):
        torch.save(contents(), tmp_path / "a.pt", _use_new_zipfile_serialization=kind)
        write_torch_file(tmp_path / "b.pt", TorchFile.open(tmp_path / "a.pt").contents)
        assert_same(torch.load(tmp_path / "b.pt", weights_only=True), contents())


def test_the_same_contents_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        write_torch_file(tmp_path / name, contents())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_tensor_that_occurs_twice_is_written_once(tmp_path: Path) -> None:
    tensor = torch.ones(1000)
    write_torch_file(tmp_path / "x.pt", {"a": tensor, "b": [tensor]})
    assert (tmp_path / "x.pt").stat().st_size < 6000
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert loaded["a"].data_ptr() == loaded["b"][0].data_ptr()


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(0, 5), max_size=3),
    dtype=st.sampled_from(DTYPES),
    block_bytes=st.integers(1, 100),
)
def test_any_shape_and_block_comes_back(tmp_path: Path, shape: list[int], dtype: torch.dtype, block_bytes: int) -> None:
    tensor = torch.randint(0, 2, shape).to(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "BLOCK_BYTES", block_bytes)
        write_torch_file(tmp_path / "x.pt", {"x": tensor, "y": tensor.clone()})
    assert_same(torch.load(tmp_path / "x.pt", weights_only=True), {"x": tensor, "y": tensor})
    assert_same(TorchFile.open(tmp_path / "x.pt").contents["y"].read(), tensor)


def test_late_entries_are_made_after_the_tensors(tmp_path: Path) -> None:
    seen: list[int] = []
    write_torch_file(tmp_path / "x.pt", {"x": torch.ones(8, 2)}, late=lambda: {"rows": sum(seen)}, progress=seen.append)
    assert torch.load(tmp_path / "x.pt", weights_only=True)["rows"] == 64


def test_progress_counts_all_bytes(tmp_path: Path) -> None:
    seen: list[int] = []
    write_torch_file(tmp_path / "x.pt", {"x": torch.ones(3 * stored.BLOCK_BYTES // 4)}, progress=seen.append)
    assert seen == [stored.BLOCK_BYTES] * 3


class Failing:
    """A source that fails in the middle."""

    dtype = torch.float32
    shape = (4, 2)
    crc32 = None

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def blocks(self) -> Iterator[torch.Tensor]:
        yield torch.ones(2, 2)
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), CheckpointError("x")])
def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "x.pt").write_bytes(b"earlier")
    with pytest.raises(type(error)):
        write_torch_file(tmp_path / "x.pt", {"x": Failing(error)})
    assert os.listdir(tmp_path) == ["x.pt"]
    assert (tmp_path / "x.pt").read_bytes() == b"earlier"


def test_a_full_disk_is_noticed_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 4000))  # type: ignore[attr-defined]
    write_torch_file(tmp_path / "small.pt", {"x": torch.ones(10)})
    source = Failing(AssertionError("read"))
    with pytest.raises(OutputError, match=r"x\.pt: its tensors need [\d.]+ KiB, but the disk has 3.9 KiB free"):
        write_torch_file(tmp_path / "x.pt", {"x": source, "y": torch.ones(1000)})
    assert os.listdir(tmp_path) == ["small.pt"]


def test_a_source_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(100, 3)}, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    content[TorchFile.open(tmp_path / "a.pt").contents["x"].offset + 5] ^= 1
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"b\.pt: was not written: the source is corrupt, .*shape \[100, 3\] .* checksum"
    ):
        write_torch_file(tmp_path / "b.pt", TorchFile.open(tmp_path / "a.pt").contents)
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(1, dtype=torch.complex64), "type torch.complex64 cannot be written"),
        (object(), "cannot be written: holds a object"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        write_torch_file(tmp_path / "x.pt", {"x": value})
    assert not list(tmp_path.iterdir())


COPY = """
import resource, sys
from pathlib import Path
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.writer import write_torch_file
import torch
torch.set_num_threads(1)
contents = TorchFile.open(Path(sys.argv[1])).contents
used = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")][0] << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (200 << 20),) * 2)
try:
    torch.empty(300 << 20, dtype=torch.uint8)
except RuntimeError:
    pass
else:
    sys.exit("the limit has no effect")
write_torch_file(Path(sys.argv[2]), contents)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_five_gigabytes_are_copied_in_200_megabytes(tmp_path: Path, kind: str) -> None:
    """More than 4 GiB, which requires 64-bit sizes and offsets; both files as torch reads them."""
    rows = {0: torch.arange(64.0), 17_000_000: torch.ones(64), 19_999_999: torch.full((64,), 2.0)}
    given = {"big": Sparse((20_000_000, 64), rows), "small": torch.arange(5.0)}
    source = save_sparse(given, tmp_path / "a.pt", kind)
    assert source.stat().st_size > 5_000_000_000
    subprocess.run([sys.executable, "-c", COPY, source, tmp_path / "b.pt"], check=True, timeout=280)
    source.unlink()
    with zipfile.ZipFile(tmp_path / "b.pt") as archive:
        assert archive.getinfo("archive/data/0").file_size == 20_000_000 * 64 * 4
    loaded = torch.load(tmp_path / "b.pt", weights_only=True, mmap=True)
    assert torch.equal(loaded["small"], torch.arange(5.0))
    for row in (0, 1, 17_000_000, 19_999_999):
        assert torch.equal(loaded["big"][row], rows.get(row, torch.zeros(64)))
