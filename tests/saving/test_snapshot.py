"""A checkpoint is written directly from its tensors, as they were when it was requested."""

from __future__ import annotations

import os
import signal
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError, NonFiniteError, OutputError, ShapeError
from dlrm_pl.kernels.hashing.blocks import DIGEST_BYTES
from dlrm_pl.model.checkpoints.row_digests import block_bytes_of
from dlrm_pl.saving import native
from dlrm_pl.saving.native import Job
from dlrm_pl.saving.pages import LargePages
from dlrm_pl.saving.parts import Digests
from dlrm_pl.saving.snapshot import Snapshot
from dlrm_pl.torch_file.writer import write_torch_file

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8)


def contents(seed: int = 0, rows: int = 1000) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        str(dtype): torch.randint(0, 100, (rows + i, 7), generator=generator).to(dtype)
        for i, dtype in enumerate(DTYPES)
    }
    shared = torch.arange(5.0)
    return {
        "state_dict": tensors,
        "shared": [shared, shared],
        "transposed": tensors["torch.float32"].t(),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "plain": {"a": [1, 2.5, "b", None, True]},
    }


def in_child(snapshot: Snapshot) -> None:
    snapshot.start().wait()


@pytest.mark.parametrize("write", [Snapshot.write, in_child])
def test_file_is_the_one_that_is_written_block_by_block(tmp_path: Path, write: Any) -> None:
    write(Snapshot(tmp_path / "a.ckpt", contents()))
    write_torch_file(tmp_path / "b.ckpt", contents())
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
        assert archive.testzip() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "b.ckpt"]


def test_file_larger_than_the_buffer_is_whole(tmp_path: Path) -> None:
    big = {"a": torch.arange(3_000_000), "b": torch.arange(9_000_001, dtype=torch.uint8)}
    Snapshot(tmp_path / "a.ckpt", big).start().wait()
    read = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert all(torch.equal(read[name], tensor) for name, tensor in big.items())


def test_child_writes_what_was_there_when_it_was_started(tmp_path: Path) -> None:
    tensor = torch.ones(20_000_000)
    writer = Snapshot(tmp_path / "a.ckpt", {"a": tensor}).start()
    tensor.fill_(2)
    writer.wait()
    assert writer.ended
    assert torch.equal(torch.load(tmp_path / "a.ckpt", weights_only=True)["a"], torch.ones(20_000_000))


def test_tensors_that_share_memory_are_both_whole(tmp_path: Path) -> None:
    tensor = torch.arange(2_000_000)
    snapshot = Snapshot(tmp_path / "a.ckpt", {"all": tensor, "part": tensor[1000:]})
    snapshot.start().wait()
    read = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(read["all"], tensor)
    assert torch.equal(read["part"], tensor[1000:])


def test_memory_of_several_processes_has_no_snapshot(tmp_path: Path) -> None:
    assert Snapshot(tmp_path / "a.ckpt", {"a": torch.ones(1000)}).can_start
    assert not Snapshot(tmp_path / "a.ckpt", {"a": torch.ones(1000).share_memory_()}).can_start


@pytest.mark.each_value
@pytest.mark.parametrize("write", [Snapshot.write, in_child])
@pytest.mark.parametrize("dtype", DTYPES[:4])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weight_that_is_not_finite_is_named(tmp_path: Path, write: Any, dtype: torch.dtype, bad: float) -> None:
    path = tmp_path / "a.ckpt"
    path.write_text("earlier")
    tensors = {"good": torch.ones(3), "bad": torch.ones(200, 3000, dtype=dtype), "other": torch.tensor([bad])}
    tensors["bad"][150, 7] = bad
    names = {id(tensors[name]): name for name in ("good", "bad")}
    with pytest.raises(
        NonFiniteError, match=r"a\.ckpt: was not written, because bad is not finite \(element 450,007\)"
    ):
        write(Snapshot(path, tensors, lambda tensor: names.get(id(tensor))))
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_child_is_noticed_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_text("earlier")
    writer = Snapshot(path, {"a": torch.ones(50_000_000)}).start()
    os.kill(writer._child, signal.SIGKILL)
    with pytest.raises(OutputError, match=r"ended with signal SIGKILL.*Earlier checkpoints are intact"):
        writer.wait()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "earlier"


def test_child_that_somebody_else_waited_for_counts_as_ended(tmp_path: Path) -> None:
    writer = Snapshot(tmp_path / "a.ckpt", {"a": torch.ones(10)}).start()
    os.waitpid(writer._child, 0)
    assert writer.ended
    writer.wait()


def test_child_holds_no_file_of_its_parent_and_outlives_ctrl_c(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    writer = Snapshot(tmp_path / "a.ckpt", {"a": torch.ones(30_000_000)}).start()
    os.kill(writer._child, signal.SIGINT)
    os.close(writing)
    started = time.monotonic()
    assert os.read(reading, 1) == b""  # No process is left that could write.
    assert not writer.ended or time.monotonic() - started < 1
    os.close(reading)
    writer.wait()


def test_training_waits_where_memory_is_short(tmp_path: Path) -> None:
    writer = Snapshot(tmp_path / "a.ckpt", {"a": torch.ones(50_000_000)}).start()
    writer._limit, writer._faults = 1e6, writer._faults - 1_000_000
    needed, ended = writer.needs_memory, writer.ended
    assert needed or ended
    writer.wait()
    assert not writer.needs_memory


def test_value_that_no_checkpoint_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.ckpt: cannot be written: holds a object"):
        Snapshot(tmp_path / "a.ckpt", {"a": object()})


def test_pages_are_put_together_in_parts() -> None:
    tensor = torch.ones(40_000_000)
    pages = LargePages([(tensor.data_ptr(), 160_000_000), (tensor.data_ptr(), 100)])
    steps = 1
    while pages.restore():
        steps += 1
    assert steps == 5
    assert torch.equal(tensor, torch.ones(40_000_000))


@pytest.mark.each_value
@pytest.mark.parametrize("write", [Snapshot.write, in_child])
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (3000, 8), (1, 1), (90_001, 33), (40_000, 128), (7, 30_000)])
def test_digests_are_written_with_their_tensor(tmp_path: Path, write: Any, rows: int, width: int) -> None:
    """Also for blocks that do not fit evenly into the pieces and the buffer of the writer."""
    table = torch.randn(rows, width, generator=torch.Generator().manual_seed(rows))
    block = block_bytes_of(table)
    room = torch.zeros(-(-table.nbytes // block), DIGEST_BYTES, dtype=torch.uint8)
    held = {"first": torch.ones(5), "table": table, "last": torch.ones(7), "digests": room}
    digests = Digests(room, block)
    write(Snapshot(tmp_path / "a.ckpt", held, digests_of=lambda tensor: digests if tensor is table else None))
    loaded = torch.load(tmp_path / "a.ckpt")
    values = table.numpy().tobytes()
    expected = [blake3(values[i : i + block]).digest()[:DIGEST_BYTES] for i in range(0, len(values), block)]
    assert loaded["digests"].numpy().tobytes() == b"".join(expected)
    assert torch.equal(loaded["table"], table)
    with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("room", [torch.zeros(2, 16, dtype=torch.uint8), torch.zeros(1, 16), torch.zeros(1, 8).byte()])
def test_digests_without_the_right_room_are_refused(tmp_path: Path, room: torch.Tensor) -> None:
    table = torch.ones(5, 8)
    with pytest.raises(ShapeError, match=r"Digests of 160 bytes in blocks of 8192 are contiguous uint8 \[1, 16\], got"):
        Snapshot(tmp_path / "a.ckpt", {"a": table, "b": room}, digests_of=lambda _: Digests(room, 8192))


@pytest.mark.parametrize("change", [{"block": 0}, {"block": (128 << 10) + 1}, {"checksum": -1}])
def test_digests_that_make_no_sense_are_refused(change: dict[str, int]) -> None:
    library, data = native.library(), np.zeros(10, np.uint8)
    assert library is not None
    numbers = {"checksum": 0, "block": 10} | change
    parts = np.array([[data.ctypes.data, 10, numbers["checksum"], 0, data.ctypes.data, numbers["block"]]], np.int64)
    with pytest.raises(ShapeError, match="Digests need blocks of 1 byte to 128 KiB"):
        Job(library, 0, parts, np.zeros((0, 2), np.int64), releases=False)


@given(data=st.binary(max_size=700), start=st.integers(0, 2**32 - 1), cut=st.integers(0, 700))
def test_checksum_is_that_of_zip_files(data: bytes, start: int, cut: int) -> None:
    library = native.library()
    assert library is not None
    bytes_of = np.frombuffer(data, np.uint8)
    assert library.dlrm_saving_crc32(start, bytes_of.ctypes.data, len(data)) == zlib.crc32(data, start)
    head = library.dlrm_saving_crc32(start, bytes_of.ctypes.data, len(data[:cut]))
    assert zlib.crc32(data[cut:], head) == zlib.crc32(data, start)


@pytest.mark.parametrize(("parts", "patches"), [((1, 4), (0, 2)), ((1, 6), (1, 3))])
def test_wrong_sizes_are_refused(parts: tuple[int, int], patches: tuple[int, int]) -> None:
    library = native.library()
    assert library is not None
    with pytest.raises(ShapeError, match="an array of int64"):
        Job(library, 0, np.zeros(parts, np.int64), np.zeros(patches, np.int64), releases=False)
