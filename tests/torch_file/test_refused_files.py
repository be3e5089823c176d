"""Files that torch would not have written, or that were damaged."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.stored import StoredTensor
from tests.support.files.pickles import FORMATS, WRITERS, in_legacy, in_zip, per_example, save, state


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"byteorder": b"big"}, "byte order b'big'"),
        ({"version": b"11\n"}, "has version b'11' of torch's format"),
        ({"version": b"x"}, "has version b'x'"),
        ({"version": b"3" * 5000}, "has version b'33333333333333333333' of torch's format"),
        ({"constants.pkl": b""}, "TorchScript"),
        ({"sub": b"", "data.pkl": b""}, "two entries"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_zip_files_are_refused(tmp_path: Path, others: dict[str, bytes], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TorchFile.open(in_zip(tmp_path / "x.pt", b"}.", **others))


def test_a_compressed_entry_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"}." + b"0" * 1000)
    with pytest.raises(CheckpointError, match=r"'archive/data\.pkl' is compressed"):
        TorchFile.open(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"magic": 5}, "its magic number is different"),
        ({"version": 1002}, "has version 1002"),
        ({"system": {"little_endian": False}}, "big-endian"),
        ({"system": []}, "big-endian"),
    ],
)
def test_other_legacy_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TorchFile.open(in_legacy(tmp_path / "x.pt", b"\x80\x02}.", **changes))


def persistent(*saved: bytes) -> bytes:
    return b"\x80\x02((" + b"".join(saved) + b"tQt."


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (b"U\x06moduleccollections\nOrderedDict\nU\x01aU\x01b", "whole module with its source"),
        (b"U\x07storagectorch\nFloatStorage\nU\x01aU\x03cpuK\x02(U\x01bK\x00K\x02t", "views of others"),
        (b"U\x07storagectorch\nFloatStorage\nU\x01aU\x04metaK\x02N", "meta device"),
        (b"U\x07storageU\x01fU\x01aU\x03cpuK\x02N", "an invalid type, key"),
        (b"U\x05otherU\x01fU\x01aU\x03cpuK\x02N", "not in torch's form"),
    ],
)
def test_other_references_to_data_are_refused(tmp_path: Path, saved: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TorchFile.open(in_legacy(tmp_path / "x.pt", persistent(saved)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK", "cut short: no zip central directory"),
        (b"PK\3\4", "cut short: no zip central directory"),
        (b"garbage", r"not a file of torch: it starts with b'garbage'"),
        (b"\0" * 257 + b"ustar" + b"\0" * 500, "tar archive"),
        (b"\x80\x02]q\x00.", "its magic number is different"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"x\.pt: .*{message}"):
        TorchFile.open(tmp_path / "x.pt")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.pt: does not exist"):
        TorchFile.open(tmp_path / "nothing.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        TorchFile.open(tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_prefix_is_refused_by_what_is_cut(tmp_path: Path, kind: str) -> None:
    content = save({"table": torch.ones(20, 4), "bias": torch.ones(3)}, tmp_path / "x.pt", kind).read_bytes()
    reasons = set()
    for size in range(len(content)):
        (tmp_path / "cut.pt").write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"cut\.pt: (is empty|cut short)") as caught:
            TorchFile.open(tmp_path / "cut.pt")
        reasons.add(str(caught.value).split("cut.pt: ")[1].split(":")[0].split(" in")[-1])
    inside = {
        "side its magic number",
        "side its pickled object",
        "side the list of storage keys",
        "side storage 1 of 2",
    }
    assert reasons >= (inside if kind == "legacy" else {"cut short"}), reasons


def test_an_entry_beyond_the_directory_is_refused(tmp_path: Path) -> None:
    path = save({"x": torch.ones(3)}, tmp_path / "x.pt", "zip")
    content = bytearray(path.read_bytes())
    content[28:30] = b"\xff\xff"  # Bytes of the extra field in the first header, after which its data begins.
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cut short inside the entry 'x/data\.pkl'"):
        TorchFile.open(path)


def test_another_number_of_elements_is_refused(tmp_path: Path) -> None:
    path = save({"x": torch.ones(3)}, tmp_path / "x.pt", "legacy")
    content = path.read_bytes()
    assert content.endswith(struct.pack("<q", 3) + torch.ones(3).numpy().tobytes())
    path.write_bytes(content[:-20] + struct.pack("<q", 2) + content[-12:])
    with pytest.raises(CheckpointError, match="storage 1 of 1 has 2 elements, but its tensors expect 3"):
        TorchFile.open(path)


@pytest.mark.parametrize("kind", FORMATS)
@per_example
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits_are_refused_or_read(tmp_path: Path, kind: str, places: list[tuple[float, int]]) -> None:
    values = {"state_dict": state(), "test_acc": np.float64(0.5), "array": np.arange(3)}
    content = bytearray(save(values, tmp_path / "x.pt", kind).read_bytes())
    # Half of the flips go to the structure, which is small.
    for index, (share, flip) in enumerate(places):
        content[int(share * (len(content) if index % 2 else min(len(content), 2500)))] ^= flip
    path = tmp_path / "flipped.pt"
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        file = TorchFile.open(path)
        todo = [file.contents]
        while todo:
            value = todo.pop()
            if isinstance(value, dict | list | tuple):
                todo += value.values() if isinstance(value, dict) else value
            elif isinstance(value, StoredTensor) and value.nbytes < 1 << 20:
                value.read()


@pytest.mark.parametrize("kind", FORMATS)
@per_example
@given(content=st.lists(st.sampled_from([bytes([code]) for code in range(256)]) | st.binary(max_size=3), max_size=40))
def test_any_pickle_is_refused_or_read(tmp_path: Path, kind: str, content: list[bytes]) -> None:
    with contextlib.suppress(CheckpointError):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", b"\x80\x02" + b"".join(content) + b"."))


@pytest.mark.parametrize("change", [(5, 5), (4, 4), (-1, 4)])
def test_a_tensor_outside_its_data_is_refused(tmp_path: Path, change: tuple[int, int]) -> None:
    shape, step = change
    number = b"K" + bytes([shape]) if shape >= 0 else b"J" + struct.pack("<i", shape)
    content = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01aU\x03cpuK\x10tQ"
        b"K\x01" + number + b"K\x04\x86K" + bytes([step]) + b"K\x01\x86\x89NtR."
    )
    with pytest.raises(CheckpointError, match="corrupt: a tensor"):
        TorchFile.open(in_zip(tmp_path / "x.pt", content, **{"data/a": b"\0" * 64}))
