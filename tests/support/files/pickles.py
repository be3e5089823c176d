"""Torch files written by hand around any pickle."""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, settings

from tests.support.examples import examples

FORMATS = ["zip", "legacy"]


per_example = settings(
    deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


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
