"""Small files that ask for gigabytes or hours are refused in seconds, with one message."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dlrm_pl.errors import CheckpointError
from dlrm_pl.torch_file import pickle_machine
from dlrm_pl.torch_file.directory import TorchFile

START = b"\x80\x02"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def archive(path: Path, pickled: bytes, entries: dict[str, bytes] | None = None) -> Path:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("archive/data.pkl", pickled)
        for name, content in (entries or {"archive/data/0": bytes(4)}).items():
            target.writestr(name, content)
    path.write_bytes(out.getvalue())
    return path


FLOATS = b"ctorch\nFloatStorage\nq\x00"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\nq\x03"
DATA = b"(" + text("storage") + b"h\x00" + text("0") + text("cpu") + b"K\x01tQq\x04"
ENCODE = b"c_codecs\nencode\nq\x00"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\nq\x05"
DOUBLES = (
    b"cnumpy\ndtype\n" + text("f8") + b"K\x00K\x01\x87R(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
)


def bytes_of(size: int) -> bytes:
    """Pickle bytes by Python 3's protocol, which torch's own files also contain."""
    return b"B" + struct.pack("<I", size) + b"a" * size


def tensor(shape: int, stride: int) -> bytes:
    arguments = b"(h\x04K\x00" + number(shape) + b"\x85" + number(stride) + b"\x85\x89}t"
    return START + FLOATS + b"0" + DATA + b"0" + REBUILD + arguments + b"R."


# The pickle and the message of each.
COPIES = "its pickle makes values of more than 33,554,432 bytes"
SIZE = 4 << 20
CASES = {
    "one text encoded a thousand times": (
        START + b"(" + ENCODE + b"0" + text("a" * SIZE) + b"q\x010" + text("latin1") + b"q\x02h\x01h\x02\x86q\x03"
        + b"h\x00h\x03R" * 1000 + b"l.",
        COPIES,
    ),
    "one list made a tuple a thousand times": (
        START + b"(ctorch\nSize\nq\x00](" + b"N" * 20_000 + b"e\x85q\x01" + b"h\x00h\x01R" * 1000 + b"l.",
        COPIES,
    ),
    "arrays of the same bytes a thousand times": (
        START + b"(" + DOUBLES + b"K\x00tbq\x01" + bytes_of(SIZE) + b"q\x02" + ARRAY
        + (b"h\x05)R(K\x01" + number(SIZE // 8) + b"\x85h\x01\x89h\x02tb") * 1000 + b"l.",
        COPIES,
    ),
    "a line of megabytes": (b"L" + b"9" * 1_000_000 + b"L\n.", "has a line of more than 65,536 bytes"),
    "numbers of one hash": (
        START + b"\x8f(" + b"".join(number(i * (2**61 - 1)) for i in range(1, 3)) + b"\x90.",
        "a number of 61 bits in a key",
    ),
    "tuples, easily of one hash": (START + b"}K\x01K\x02\x86Ns.", "a key of several numbers"),
    "a long tuple, hashed again and again": (
        START + b"}(" + b"N" * 17 + b"tNs.",
        "a tuple of 17 parts in a key",
    ),
    "a device whose name is a list": (START + b"ctorch\ndevice\n]\x85R.", "a device has no valid name"),
    "a tensor of one element, a terabyte of times": (
        tensor(2**38, 0),
        r"shape \[274877906944\] and stride \[0\] repeats the 4 bytes of its data up to 1,099,511,627,776",
    ),
    "a negative size": (tensor(-1, 1), "no valid shape and stride"),
    "a negative stride": (tensor(1, -1), "no valid shape and stride"),
    "a stride beyond the data": (tensor(2, 1), r"shape \[2\] needs 2 elements, but its data '0' has 1"),
}  # fmt: skip
# Only caught by the limit of steps, which takes a second or two.
MANY_STEPS = {
    "empty sets": START + b"(" + b"\x8f" * 1_100_000 + b"l.",
    "empty dicts": START + b"(" + b"}" * 1_100_000 + b"l.",
    "marks": START + b"(" * 1_100_000 + b"l.",
    "tuples in tuples": START + b"N" + b"\x85" * 1_100_000 + b".",
    "the same object": START + b"]q\x00" + b"h\x000" * 600_000 + b".",
}


@pytest.mark.parametrize("name", CASES)
def test_what_asks_for_gigabytes_or_hours_is_refused(tmp_path: Path, name: str) -> None:
    pickled, message = CASES[name]
    with pytest.raises(CheckpointError, match=rf"x\.pt: .*{message}"):
        TorchFile.open(archive(tmp_path / "x.pt", pickled))


def test_expanded_tensors_that_are_not_large_are_read(tmp_path: Path) -> None:
    contents = TorchFile.open(archive(tmp_path / "x.pt", tensor(1000, 0))).contents
    assert contents.read().tolist() == [0.0] * 1000


def test_as_many_steps_as_are_allowed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "x.pt", START + b"](" + b"N" * 95 + b"e.")
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 100)
    assert len(TorchFile.open(path).contents) == 95
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 99)
    with pytest.raises(CheckpointError, match="takes more than 99 steps"):
        TorchFile.open(path)


def test_a_version_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(START + number(MAGIC_NUMBER) + b"." + START + b"N" + b"\x85" * 10_000 + b".")
    with pytest.raises(CheckpointError, match="has version tuple of torch's older format"):
        TorchFile.open(path)


def test_entries_with_the_same_bytes_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pt", START + b"}.", {"archive/data/0": b"abcd", "archive/data/1": b"efgh"})
    content = bytearray(path.read_bytes())
    # In the directory at the end, the second entry's header offset is now the first's.
    second, third = (content.rfind(b"archive/data/%d" % key) for key in (0, 1))
    content[third - 4 : third] = content[second - 4 : second]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="the data of the entry 'archive/data/1' overlaps with another"):
        TorchFile.open(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *MANY_STEPS])
def test_command_refuses_it_within_two_gibibytes_and_twenty_seconds(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "x.pt", CASES[name][0] if name in CASES else MANY_STEPS[name])

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    for arguments in (["inspect", str(path)], ["import-checkpoint", f"--upstream={path}", f"--output={tmp_path}/o"]):
        command = [
            sys.executable,
            "-c",
            "from dlrm_pl.cli.main import main; raise SystemExit(main())",
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, preexec_fn=limit, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
