"""Pickles that would run code, cost gigabytes or never end are refused."""

from __future__ import annotations

import contextlib
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.directory import TorchFile
from tests.support.files.hostile_pickles import HOSTILE, global_text
from tests.support.files.pickles import FORMATS, WRITERS, in_legacy, save


def nested(hostile: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Return the pickle inside lists, a dict, a tuple and the arguments of an allowed call."""

    def inside(proof: str) -> bytes:
        body = hostile(proof)[:-1]
        body = body[2:] if body[:1] == b"\x80" else body
        return b"\x80\x04]]}X\x01\x00\x00\x00a" + b"ccollections\nOrderedDict\n]" + body + b"a\x85R\x85saa."

    return inside


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path: Path, kind: str, depth: int, name: str) -> None:
    make, message = HOSTILE[name]
    for _ in range(depth):
        make = nested(make)
    content = make(str(tmp_path / "proof"))
    if name in ("REDUCE", "STACK_GLOBAL", "INST", "OBJ"):  # Python really runs it.
        with contextlib.suppress(TypeError):  # From an OrderedDict made of mkdir's result.
            pickle.loads(content)
        (tmp_path / "proof").rmdir()
    with pytest.raises(CheckpointError, match=rf"x\.pt: holds {message}"):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", content))
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("system", [b"magic", b"keys"])
def test_the_small_pickles_of_a_file_are_checked_too(tmp_path: Path, kind: str, system: bytes) -> None:
    hostile = global_text(str(tmp_path / "proof"))
    if system == b"magic":
        (tmp_path / "x.pt").write_bytes(hostile)
    else:
        content = in_legacy(tmp_path / "x.pt", pickle.dumps({}, 2)).read_bytes()
        (tmp_path / "x.pt").write_bytes(content.removesuffix(pickle.dumps([], 2)) + hostile)
    with pytest.raises(CheckpointError, match=r"posix\.mkdir"):
        TorchFile.open(tmp_path / "x.pt")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02cbuiltins\neval\n.", r"builtins\.eval"),
        (b"\x80\x02ctorch.nn.modules.linear\nLinear\n.", "torch.nn.modules.linear.Linear, .*whole module"),
        (b"\x80\x02ctorch._utils\n_rebuild_qtensor\n.", "_rebuild_qtensor, .*quantized model"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\n.", "_rebuild_parameter where a value is expected"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "FloatStorage where a value is expected"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls a StorageType"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\nK\x01K\x01\x88\x87R.", "parameter is not made from a tensor"),
        (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\x01\x85R.",
            "invalid arguments for torch._utils._rebuild_tensor_v2",
        ),
        (b"\x80\x02}K\x01sb.", "uses more objects than it made"),
        (b"\x80\x02]K\x01b.", "sets the state of a list"),
        (b"\x80\x02]K\x01K\x02s.", "appends|sets items of a list"),
        (b"\x80\x02}]K\x01s.", "a list in a key"),
        (b"\x80\x02(K\x01d.", "a key without a value"),
        (b"\x80\x02h\x05.", "refers to its object 5"),
        (b"\x80\x02K\x01K\x02.", "does not end with exactly one object"),
        (b"\x80\x02\xff.", r"not an opcode of a pickle \('ÿ'\)"),
        (b"\x80\x02X\x02\x00\x00\x00\xff\xff.", "BINUNICODE .* cannot be decoded"),
        (b"\x80\x02c\\q\n\\q\n.", r"holds .*q\..*q, which is not allowed"),
        (b"\x80\x02P\\q\n.", "the pickle opcode PERSID"),
        (b"\x80\x02S'\\q'\n.", "the pickle opcode STRING"),
        (b"\x80\x02\x8a\x20" + b"\x01" * 32 + b".", "a number of .* bits"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "cut short"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a.", "BYTEARRAY8"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "NumPy array has no values"),
        (
            b"\x80\x02cnumpy\nndarray\n)R(K\x01K\x05\x85cnumpy\ndtype\nU\x02f8\x85R\x89U\x08aaaaaaaatb.",
            r"an invalid state .*cannot reshape array of size 1",
        ),
        (b"\x80\x02cnumpy\nndarray\n)RK\x01b.", "NumPy array has no valid state"),
        (b"\x80\x02cnumpy\ndtype\nU\x02f8\x85RK\x01b.", "NumPy dtype has no valid state"),
        (
            b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8\x85RU\x01a\x86R.",
            "invalid arguments for numpy",
        ),
        (b"\x80\x02c_codecs\nencode\nU\x01aU\x04zlib\x86R.", "latin-1"),
        (b"\x80\x02K\x05Q.", "reference to data is no"),
        (b"\x80\x02\x8f(]\x90.", "a list in a key"),
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_what_no_checkpoint_holds_is_refused(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", content))


def test_numpy_objects_are_refused(tmp_path: Path) -> None:
    path = save({"x": np.array([{}], dtype=object)}, tmp_path / "x.pt", "zip")
    with pytest.raises(CheckpointError, match=r"corrupt|NumPy values of type 'O8'"):
        TorchFile.open(path)


@pytest.mark.untraced
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
        b"\x80\x02)" + b"\x85" * 50_000 + b".",
        b"\x80\x02})" + b"\x85" * 50_000 + b"K\x01s.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02" + b"(" * 50_000 + b".",
    ],
    ids=["lists", "tuples", "key", "in itself", "marks"],
)
def test_what_is_nested_without_end_is_refused(tmp_path: Path, kind: str, content: bytes) -> None:
    with pytest.raises(
        CheckpointError, match=r"nested deeper|inside itself|a tuple in a key|does not end with exactly one object"
    ):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", content))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_shared_is_read_once_and_counted_as_often_as_it_is_met(tmp_path: Path, kind: str) -> None:
    def shared(levels: int) -> bytes:
        content = b"\x80\x02]q\x00" + b"".join(
            b"]q" + bytes([level]) + (b"h" + bytes([level - 1]) + b"a") * 10 for level in range(1, levels)
        )
        # Only the last list is kept; those below it are dropped from the stack, but not from the memo.
        return content + b"q\x63" + b"0" * levels + b"h\x63."

    contents = TorchFile.open(WRITERS[kind](tmp_path / "x.pt", shared(6))).contents
    assert len(contents) == 10
    assert len({id(child) for child in contents}) == 1
    with pytest.raises(CheckpointError, match=r"holds more than 2,000,000 values \(shared ones count as often"):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", shared(40)))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02X\xff\xff\xff\xff",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62),
        b"\x80\x04\x8e" + struct.pack("<Q", 2**63 - 1),
        b"\x80\x02\x8b\xff\xff\xff\x7f",
        b"\x80\x02Nr\xff\xff\xff\xff.",
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    ],
    ids=["BINUNICODE", "BINUNICODE8", "BINBYTES8", "LONG4", "LONG_BINPUT", "INT"],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_a_claim_of_gigabytes_costs_nothing(tmp_path: Path, kind: str, content: bytes) -> None:
    path = WRITERS[kind](tmp_path / "x.pt", content)
    tracemalloc.start()
    with contextlib.suppress(CheckpointError):  # A large memo number is odd, but harmless.
        TorchFile.open(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


@pytest.mark.parametrize("kind", FORMATS)
def test_a_pickle_of_megabytes_is_refused(tmp_path: Path, kind: str) -> None:
    size = 17 << 20
    path = WRITERS[kind](tmp_path / "x.pt", b"\x80\x02X" + struct.pack("<I", size) + b"a" * size + b".")
    with pytest.raises(CheckpointError, match="larger than 16,777,216 bytes, more than a checkpoint needs"):
        TorchFile.open(path)
