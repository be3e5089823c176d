"""Files of torch, opened without torch.load: what plain torch.save wrote is read, all else is refused by name."""

import collections
import contextlib
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file.directory import TorchFile
from dlrm_pl.torch_file.stored import StoredTensor
from tests.support.torch_files import save_sparse

FORMATS = ["zip", "legacy"]
per_example = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(value: Any, path: Path, kind: str, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=kind == "zip", pickle_protocol=protocol)
    return path


def state() -> collections.OrderedDict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    table = torch.randn(5, 4, generator=rng)
    tensors: collections.OrderedDict[str, Any] = collections.OrderedDict(
        table=table,
        column=table[:, 1],
        transposed=table.t(),
        part=table[2:4],
        scalar=torch.tensor(5.0),
        empty=torch.empty(0, 3),
        parameter=torch.nn.Parameter(torch.randn(3, generator=rng)),
        half=torch.randn(3, generator=rng).half(),
        bfloat16=torch.randn(3, generator=rng).bfloat16(),
        double=torch.randn(2, 3, 2, generator=rng, dtype=torch.float64),
        flags=torch.tensor([True, False, True]),
        counts=torch.arange(7),
    )
    tensors._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    return tensors


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
    for length in range(4):  # Of a text before the data, so that one of four begins at a multiple of 4.
        save_sparse({"text": "a" * length, "x": torch.ones(2)}, tmp_path / "x.pt", "legacy")
        stored = TorchFile.open(tmp_path / "x.pt").contents["x"]
        assert torch.equal(stored.read(), torch.ones(2))
        aligned += stored.is_aligned
        if not stored.is_aligned:
            with pytest.raises(CheckpointError, match="which is no multiple of 4"):
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


def global_text(proof: str) -> bytes:
    return b"\x80\x02cposix\nmkdir\nX" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85R."


def stack_global(proof: str) -> bytes:
    return b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93X" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85R."


def inst(proof: str) -> bytes:
    return b"(X" + struct.pack("<I", len(proof)) + proof.encode() + b"iposix\nmkdir\n."


def obj(proof: str) -> bytes:
    return b"(cposix\nmkdir\nX" + struct.pack("<I", len(proof)) + proof.encode() + b"o."


def newobj(proof: str) -> bytes:
    return b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85\x81."


def build(proof: str) -> bytes:
    """An allowed global, whose state is to make it another."""
    return b"\x80\x02ccollections\nOrderedDict\n)R}X\x08\x00\x00\x00__call__cposix\nmkdir\nsb."


def extension(code: bytes) -> Callable[[str], bytes]:
    return lambda proof: b"\x80\x02" + code + b"X" + struct.pack("<I", len(proof)) + proof.encode() + b"\x85R."


def nested(hostile: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """The same inside lists, a dict, a tuple and the arguments of an allowed call."""

    def inside(proof: str) -> bytes:
        body = hostile(proof)[:-1]
        body = body[2:] if body[:1] == b"\x80" else body
        return b"\x80\x04]]}X\x01\x00\x00\x00a" + b"ccollections\nOrderedDict\n]" + body + b"a\x85R\x85saa."

    return inside


HOSTILE = {
    "REDUCE": (global_text, r"posix\.mkdir"),
    "STACK_GLOBAL": (stack_global, r"posix\.mkdir"),
    "INST": (inst, r"posix\.mkdir"),
    "OBJ": (obj, r"posix\.mkdir"),
    "NEWOBJ": (newobj, r"os\.mkdir"),
    "BUILD": (build, r"posix\.mkdir"),
    "EXT1": (extension(b"\x82\x05"), r"entry 5 .*EXT1"),
    "EXT2": (extension(b"\x83\x05\x01"), r"entry 261 .*EXT2"),
    "EXT4": (extension(b"\x84\x05\x00\x00\x01"), r"entry 16777221 .*EXT4"),
}


def in_zip(path: Path, content: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for name, data in ({"version": b"3\n", "byteorder": b"little"} | others).items():
            archive.writestr(f"archive/{name}", data)
    return path


def in_legacy(path: Path, content: bytes, **changes: Any) -> Path:
    parts = {"magic": 0x1950A86A20F9469CFC6C, "version": 1001, "system": {"little_endian": True}} | changes
    header = b"".join(pickle.dumps(parts[name], 2) for name in ("magic", "version", "system"))
    path.write_bytes(header + content + pickle.dumps([], 2))
    return path


WRITERS = {"zip": in_zip, "legacy": in_legacy}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path: Path, kind: str, depth: int, name: str) -> None:
    make, message = HOSTILE[name]
    for _ in range(depth):
        make = nested(make)
    content = make(str(tmp_path / "proof"))
    if name in ("REDUCE", "STACK_GLOBAL", "INST", "OBJ"):  # It is what it claims to be.
        with contextlib.suppress(TypeError):  # Of an OrderedDict made of what mkdir returns.
            pickle.loads(content)
        (tmp_path / "proof").rmdir()
    with pytest.raises(CheckpointError, match=rf"x\.pt: holds {message}"):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", content))
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("system", [b"magic", b"keys"])
def test_the_small_pickles_of_a_file_are_no_way_in_either(tmp_path: Path, kind: str, system: bytes) -> None:
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
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\n.", "_rebuild_parameter by itself"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "FloatStorage by itself"),
        (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls a StorageType"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\nK\x01K\x01\x88\x87R.", "parameter is made of something else"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\x01\x85R.", "cannot be made as the pickle asks"),
        (b"\x80\x02}K\x01sb.", "takes more objects than it made"),
        (b"\x80\x02]K\x01b.", "sets the state of a list"),
        (b"\x80\x02]K\x01K\x02s.", "appends|sets items of a list"),
        (b"\x80\x02}]K\x01s.", "a list in a key"),
        (b"\x80\x02(K\x01d.", "a key without a value"),
        (b"\x80\x02h\x05.", "refers to its object 5"),
        (b"\x80\x02K\x01K\x02.", "left over"),
        (b"\x80\x02\xff.", r"no opcode of a pickle \('ÿ'\)"),
        (b"\x80\x02X\x02\x00\x00\x00\xff\xff.", "BINUNICODE .* cannot be decoded"),
        (b"\x80\x02c\\q\n\\q\n.", r"holds .*q\..*q, which is none"),
        (b"\x80\x02P\\q\n.", "the pickle opcode PERSID"),
        (b"\x80\x02S'\\q'\n.", "the pickle opcode STRING"),
        (b"\x80\x02\x8a\x20" + b"\x01" * 32 + b".", "a number of .* bits"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "cut short"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a.", "BYTEARRAY8"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "numpy array has no values"),
        (
            b"\x80\x02cnumpy\nndarray\n)R(K\x01K\x05\x85cnumpy\ndtype\nU\x02f8\x85R\x89U\x08aaaaaaaatb.",
            r"a state that does not fit .*cannot reshape array of size 1",
        ),
        (b"\x80\x02cnumpy\nndarray\n)RK\x01b.", "numpy array has no valid state"),
        (b"\x80\x02cnumpy\ndtype\nU\x02f8\x85RK\x01b.", "numpy dtype has no valid state"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8\x85RU\x01a\x86R.", "cannot be made"),
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
    with pytest.raises(CheckpointError, match=r"damaged|numpy values of type 'O8'"):
        TorchFile.open(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        b"\x80\x02)" + b"\x85" * 200_000 + b".",
        b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02" + b"(" * 200_000 + b".",
    ],
    ids=["lists", "tuples", "key", "in itself", "marks"],
)
def test_what_is_nested_without_end_is_refused(tmp_path: Path, kind: str, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"nested deeper|in itself|a tuple in a key|left over"):
        TorchFile.open(WRITERS[kind](tmp_path / "x.pt", content))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_shared_is_read_once_and_counted_as_often_as_it_is_met(tmp_path: Path, kind: str) -> None:
    def shared(levels: int) -> bytes:
        content = b"\x80\x02]q\x00" + b"".join(
            b"]q" + bytes([level]) + (b"h" + bytes([level - 1]) + b"a") * 10 for level in range(1, levels)
        )
        # Only the last list stays; those below it are dropped from the stack, not from the memo.
        return content + b"q\x63" + b"0" * levels + b"h\x63."

    contents = TorchFile.open(WRITERS[kind](tmp_path / "x.pt", shared(6))).contents
    assert len(contents) == 10
    assert len({id(child) for child in contents}) == 1
    with pytest.raises(CheckpointError, match="holds more than 2,000,000 values, counting what is shared as often"):
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
    with contextlib.suppress(CheckpointError):  # A large number in the memo is odd, but harmless.
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


# Versions, byte orders and other kinds of files.


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
        ({"magic": 5}, "another magic number"),
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
        (b"U\x07storageU\x01fU\x01aU\x03cpuK\x02N", "no valid type, key"),
        (b"U\x05otherU\x01fU\x01aU\x03cpuK\x02N", "not one of torch's"),
    ],
)
def test_other_references_to_data_are_refused(tmp_path: Path, saved: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TorchFile.open(in_legacy(tmp_path / "x.pt", persistent(saved)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK", "cut short: the zip directory"),
        (b"PK\3\4", "cut short: the zip directory"),
        (b"garbage", r"no file of torch: it starts with b'garbage'"),
        (b"\0" * 257 + b"ustar" + b"\0" * 500, "tar archive"),
        (b"\x80\x02]q\x00.", "another magic number"),
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


# Truncation and damage.


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
    with pytest.raises(CheckpointError, match="storage 1 of 1 has 2 elements, its tensors expect 3"):
        TorchFile.open(path)


@pytest.mark.parametrize("kind", FORMATS)
@per_example
@given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits_are_refused_or_read(tmp_path: Path, kind: str, places: list[tuple[float, int]]) -> None:
    values = {"state_dict": state(), "test_acc": np.float64(0.5), "array": np.arange(3)}
    content = bytearray(save(values, tmp_path / "x.pt", kind).read_bytes())
    # Half of the flips go to where the structure is, which is small.
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
    with pytest.raises(CheckpointError, match="damaged: a tensor"):
        TorchFile.open(in_zip(tmp_path / "x.pt", content, **{"data/a": b"\0" * 64}))
